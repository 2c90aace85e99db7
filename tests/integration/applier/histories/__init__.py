"""Any valid history of a site, and any way in which it may reach central.

`tables` says what a site's database would allow, `site` is such a database in Python, `writes` and
`snapshots` are what happens there, `deliveries` how it comes to central, and with what in between.
"""
