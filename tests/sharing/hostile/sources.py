"""Sources that must be refused before anything is done with them."""

# ruff: noqa: E501 - a case is easier to read on its line
from __future__ import annotations

COMMAND = "touch CANARY"

OPTIONS = (
    "-h", "--help", "--upload-pack=touch CANARY", "--upload-pac=touch CANARY",
    "--upload=touch CANARY", "--up=touch CANARY", "-u touch CANARY", "-utouch CANARY",
    "--config=core.sshCommand=touch CANARY", "--conf=core.fsmonitor=touch CANARY",
    "-c core.sshCommand=touch CANARY", "--template=/tmp/evil", "--templ=/tmp/evil",
    "--recurse-submodules", "--recurse-sub", "--recursive", "--reference=/etc", "--ref=/etc",
    "--separate-git-dir=/tmp/evil", "--sep=/tmp/evil", "--exec=touch CANARY", "--exe=touch CANARY",
    "--receive-pack=touch CANARY", "--server-option=x", "--bundle-uri=http://127.0.0.1/x",
    "--origin=x", "-o x", "--", "-", "--output=/tmp/evil", "--no-checkout", "--shallow-exclude=x",
)  # fmt: skip

OPTIONS_IN_URLS = (
    "https://-oProxyCommand=touch/x", "https://example.org/-u", "https://example.org/a/--upload-pack=x",
    "https://example.org/--upload-pac/x", "https://--help/x", "file:///-x", "file:///srv/--exec=x",
    "https://-example.org/x", "https://example-.org-/x", "file:///srv/git/-c/core.editor",
)  # fmt: skip

TRANSPORTS = (
    "ext::sh -c touch% CANARY", "ext::sh -c 'touch CANARY'", "EXT::sh -c touch% CANARY",
    "ext::sh", "ext::https://example.org/x", "https::ext::sh -c x", "fd::17", "fd::0/x",
    "hg::https://example.org/x", "bzr::lp:x", "persistent-https::example.org/x",
    "transport::https://example.org/x.git", "https::https://example.org/x", "file::/srv/x",
    "ext::ssh -oProxyCommand=touch% CANARY x", "a::b", "::", "::x", "ext:://example.org/x",
    "testgit::/srv/x", "remote-ext::x://y", "ext+https::x://example.org/y",
)  # fmt: skip

SCHEMES = (
    "ssh://example.org/x", "ssh://-oProxyCommand=touch CANARY/x", "ssh://-oProxyCommand=x@example.org/x",
    "git+ssh://example.org/x", "ssh+git://example.org/x", "git://example.org/x", "ftp://example.org/x",
    "ftps://example.org/x", "rsync://example.org/x", "javascript://x/y", "data://text/x",
    "http://example.org/x", "http://127.0.0.1.example.org/x", "http://localhost.example.org/x",
    "http://2130706433/x", "http://0x7f000001/x", "http://127.1/x", "http://0/x", "http://[::ffff:1.2.3.4]/x",
    "HTTP://example.org/x", "HTTPS://example.org/x", "Https://example.org/x", "FILE:///srv/x",
    "git+https://example.org/x", "git+file:///srv/x", "bundle:///srv/x", "smb://example.org/x",
    "unix:///run/x", "dict://127.0.0.1/x", "gopher://127.0.0.1/x", "ldap://example.org/x",
    "git@example.org:ann/experts.git", "example.org:ann/experts.git", "-oProxyCommand=x:y",
    "user@-oProxyCommand=x:y", "[user@example.org:22]:x", "C:/experts", "\\\\server\\share",
)  # fmt: skip

CHARACTERS = (
    "https://example.org/x\r", "https://example.org/x\n", "https://example.org/x\r\nHost: evil",
    "https://example.org/\nx", "https://example.org\r/x", "https://exa\tmple.org/x",
    "https://example.org/x\x00", "\x00https://example.org/x", "https://example.org/\x1b[2Jx",
    "https://example.org/x\x7f", "https://example.org/\x85x", "https://example.org/ x",
    " https://example.org/x", "https://example.org/x ", "https://example.org/a b",
    "https://ex\u0430mple.org/x", "https://example.org/\u202egit", "https://example.org/\uff0e\uff0e/x",
    "https://example.org/%2e%2e/x", "https://example.org/%0d%0aHost:evil", "https://example.org/%00",
    "file:///srv/%2dx", "file:///srv/%2e%2e/etc", "https://example.org/x;touch CANARY",
    "https://example.org/$(touch CANARY)", "https://example.org/`touch CANARY`",
    "https://example.org/x|touch", "https://example.org/x&y", "https://example.org/x'y",
    'https://example.org/x"y', "https://example.org/x\\y", "https://example.org/{a,b}",
    "https://example.org/*", "https://example.org/x>y", "https://example.org/x!y",
    "expert-sql\n", "expert-sql\r", "expert-sql\x00", "expert-\x1b[31msql", "./a\nb", "/srv/\x00x",
    "./x\r", "~/\x1b]0;x\x07",
)  # fmt: skip

PARTS = (
    "https://", "https:///x", "https://example.org", "https://example.org/", "https://example.org//",
    "https://example.org/../x", "https://example.org/./x", "https://example.org/a//b",
    "https://example.org/a/..", "https://user@example.org/x", "https://user:secret@example.org/x",
    "https://:secret@example.org/x", "https://example.org@evil.org/x", "https://example.org:0/x",
    "https://example.org:99999/x", "https://example.org:x/y", "https://example.org:/x",
    "https://example.org:443:80/x", "https://example.org/x?y=z", "https://example.org/x#y",
    "https://example..org/x", "https://.example.org/x", "https://example.org./x",
    "https://Example.org/x", "https://[::1/x", "https://[::2]/x", "https://exa_mple.org/x",
    "file://", "file://example.org/srv/x", "file://localhost/srv/x", "file:///", "file:////server/x",
    "file:///srv/../etc", "file:///srv//x", "file:relative", "https:example.org/x", "https:/example.org/x",
    "https://example.org/" + "a" * 3000, "//example.org/x", "https://example.org/x@",
    "https://example.org/x@main", "https://example.org/x@../../y", "https://example.org/x@1.0",
    "https://example.org/x@--upload-pack", "expert-sql@", "expert-sql@latest", "expert-sql@1.0.0;x",
)  # fmt: skip

NAMES = (
    "", "expert-", "sql", "expert-SQL", "expert-sql/../../x", "expert-sql.expert", "expert--sql",
    "expert-sql-", "expert_sql", "expert-" + "a" * 80, "../expert-sql\x00", "expert-s\u0441l", "EXPERT-SQL",
    "expert-sql*", "expert-sql expert-json", "$HOME", "HEAD", "refs/heads/main",
)  # fmt: skip

ALL: tuple[str, ...] = tuple(
    dict.fromkeys((*OPTIONS, *OPTIONS_IN_URLS, *TRANSPORTS, *SCHEMES, *CHARACTERS, *PARTS, *NAMES))
)
