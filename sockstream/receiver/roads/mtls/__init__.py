"""The mutual-TLS socket at central: listening, connections, links."""
