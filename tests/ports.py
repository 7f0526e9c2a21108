"""Where a node of a test may listen."""
import os
import socket

# Added to a base, as `prickle demo --base-port` does.
PORTS = {"smtp": 25, "lmtp": 24, "submission": 587, "submissions": 465,
         "imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995, "metrics": 90}


def free_base():
    """A base such that all ports of the node are free right now."""
    for base in range(21000 + os.getpid() % 300 * 100, 60000, 1100):
        try:
            for port in PORTS.values():
                with socket.socket() as s:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    s.bind(("127.0.0.1", base + port))
            return base
        except OSError:
            continue
    raise SystemExit("Bail out! no free ports")
