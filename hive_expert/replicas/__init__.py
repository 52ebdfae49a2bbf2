"""Several engines behind one address, on Ray Serve. SPEC section 14.

The life of a request: Ray Serve's proxy hands it to the front (`front`), whose guard is that of a
server alone: keys, limits, the table of routes. The front finds out which experts will answer
(`affinity`), and Ray Serve's model multiplexing chooses a replica that holds them. A replica
(`engine`) is a hive-serve of its own on the loopback, and relays the request to it (`relay`), which
checks the key again, and so knows whose request it is. When a replica falls away before its answer
has begun, another one is asked (`retry`). Metrics and lists are put together from all (`merge`).

Files and batches are the front's own (`front_jobs`), and their requests take the same way; the
replica is told whose they are beside them (`serving.front_link`). What a request has cost comes
back past its answer, and is counted in the front (`account`).
"""
