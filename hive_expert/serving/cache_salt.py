"""One prefix cache, and no tenant can tell what another has asked.

vLLM keeps the attention states of prompts it has seen, and a prompt that begins alike is answered
sooner: by the time to the first token one tenant could guess another's prompts word by word. With a
salt of its own a tenant hits only what itself has put there. SPEC section 10.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CacheSalts:
    """The salts of one run of a server.

    Laws: two tenants never have the same salt, whatever they send; one tenant has the same for the
    same request, so that its own prompts still hit; nobody can compute one from outside.
    """

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def salt(self, tenant: str | None, asked: str | None) -> str | None:
        """The salt of a request.

        Args:
            tenant: whose request it is; None where nobody has to say so, and all share the cache.
            asked: the request's own `cache_salt`, with which a client parts its own users.
        """
        if tenant is None:
            return asked
        # Neither a tenant's name nor a length has a zero byte.
        message = f"{len(tenant)}\0{tenant}\0{asked or ''}".encode()
        return hmac.digest(self.secret, message, "sha256").hex()
