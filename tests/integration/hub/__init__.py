"""A project that is a central and a site in one."""
