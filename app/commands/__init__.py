"""Commands that ask a running service, or look after a stopped one."""
