#!/usr/bin/env python3
"""Answers of a running node about messages beside Dovecot's: live.py PRICKLE ARGUMENTS-OF-COMPARE..."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "smtp"))
from node import ANN, PASSWORD, Node  # noqa: E402  pylint: disable=wrong-import-position


def main():
    node = Node(sys.argv[1])
    try:
        return subprocess.run([sys.executable, os.path.join(HERE, "compare.py"), "--tap", "--ours",
                               f"127.0.0.1:{node.port('imap')}:{ANN}:{PASSWORD}", *sys.argv[2:]], check=False).returncode
    finally:
        node.close()


sys.exit(main())
