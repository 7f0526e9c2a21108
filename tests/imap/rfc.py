#!/usr/bin/env python3
"""
The sample sessions of RFC 3501 §8 and RFC 9051 §8 and the examples of their commands (§6), replayed: rfc.py PRICKLE.

Each example names its section. "C:" lines are sent as they stand in the RFC; only names of users, the numbers that
the state decides (UIDs, UIDVALIDITY) and the hierarchy's "." differ. "S:" lines are patterns of which each must match
one line of the answer, in any order among the untagged ones; the last is the tagged one. Besides, every line that
the server says must have one of the SHAPES of RFC 9051 §7.
"""
import base64
import os
import re
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "smtp"))
from node import ANN, PASSWORD, Node, tap  # noqa: E402  pylint: disable=wrong-import-position

NODE = None
STRING = r'("(\\.|[^"\\])*"|\{\d+\}<.*>)'
NSTRING = rf"({STRING}|NIL)"
SHAPES = [re.compile(s, re.S) for s in (
    r"\* (OK|NO|BAD|BYE|PREAUTH) (\[[A-Z-]+( [^\]]*)?\] )?.+",
    r"\* CAPABILITY( [!-~]+)+", r"\* ENABLED( [A-Za-z0-9=+-]+)*", r"\* FLAGS \([^()]*\)",
    r"\* (LIST|LSUB) \((\\?[A-Za-z]+ ?)*\) (\"/\"|NIL) .+", r"\* STATUS \S+ \(([A-Z]+ [(]?\w+[)]? ?)+\)",
    r"\* SEARCH( \d+)*", r"\* ESEARCH \(TAG " + STRING + r"\)( UID)?( (MIN|MAX|COUNT|MODSEQ) \d+| ALL [\d:,]+)*",
    r"\* NAMESPACE (\(.*\)|NIL) (\(.*\)|NIL) (\(.*\)|NIL)", r"\* \d+ (EXISTS|RECENT|EXPUNGE)", r"\* VANISHED .*",
    r"\* \d+ FETCH \(.+\)", r"\+ .*", r"[A-Za-z0-9]+ (OK|NO|BAD) (\[[A-Z-]+( [^\]]*)?\] )?.+")]

# RFC 3501 §8. The body has 3028 octets in 92 lines there, too.
GRAY = (b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n"
        b"From: Terry Gray <gray@cac.washington.edu>\r\n"
        b"Subject: IMAP4rev1 WG mtg summary and minutes\r\n"
        b"To: imap@cac.washington.edu\r\n"
        b"cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n"
        b"Message-Id: <B27397-0100000@cac.washington.edu>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n")
assert len(GRAY) == 342
GRAY_BODY = b"".join(b"%-31s\r\n" % b"x" for _ in range(91)) + b"x" * 23 + b"\r\n"
assert len(GRAY_BODY) == 3028 and GRAY_BODY.count(b"\n") == 92
# RFC 3501 §6.3.11; the RFC says {310}.
FOOBAR = (b"Date: Mon, 7 Feb 1994 21:52:25 -0800 (PST)\r\n"
          b"From: Fred Foobar <foobar@Blurdybloop.COM>\r\n"
          b"Subject: afternoon meeting\r\n"
          b"To: mooch@owatagu.siam.edu\r\n"
          b"Message-Id: <B27397-0100000@Blurdybloop.COM>\r\n"
          b"MIME-Version: 1.0\r\n"
          b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n"
          b"Hello Joe, do you think we can meet at 3:30 tomorrow?\r\n")
assert len(FOOBAR) == 310


class Session:
    def __init__(self, login=True):
        self.sock = socket.create_connection(("127.0.0.1", NODE.port("imap")), 20)
        self.file = self.sock.makefile("rb")
        self.tag = 0
        self.names = {}
        assert self.line().startswith("* OK"), "no greeting"
        if login:
            self.ask(f'LOGIN "{ANN}" "{PASSWORD}"')

    def line(self):
        """One response as text; a literal becomes {n}<its bytes>."""
        text = ""
        while True:
            part = self.file.readline()
            if not part:
                raise EOFError
            text += part.rstrip(b"\r\n").decode("utf-8", "replace")
            literal = re.search(r"\{(\d+)\}$", text)
            if not literal:
                break
            text += "<" + self.file.read(int(literal.group(1))).decode("latin-1") + ">"
        assert any(shape.fullmatch(text) for shape in SHAPES), f"a response of no known shape: {text!r}"
        return text

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def until(self, tag):
        lines = []
        while not lines or not lines[-1].startswith((tag + " ", "+ ")):
            lines.append(self.line())
        return lines

    def ask(self, command, want="OK"):
        """For the state before an example."""
        self.tag += 1
        self.send(f"x{self.tag} {command}\r\n")
        lines = self.until(f"x{self.tag}")
        assert want is None or lines[-1].split()[1] == want, (command, lines[-1])
        return lines

    def append(self, box, messages):
        """(flags, date, text) each, in one MULTIAPPEND."""
        self.tag += 1
        out = f"x{self.tag} APPEND {box}".encode()
        for flags, date, text in messages:
            out += b" (%s) " % flags.encode() + (b'"%s" ' % date.encode() if date else b"") + b"{%d+}\r\n%s" % (len(text), text)
        self.send(out + b"\r\n")
        last = self.until(f"x{self.tag}")[-1]
        assert " OK " in last, last

    def starttls(self):
        self.sock = ssl._create_unverified_context().wrap_socket(self.sock)
        self.file = self.sock.makefile("rb")

    def close(self):
        self.file.close()
        self.sock.close()

    def fill(self, text):
        for name, value in self.names.items():
            text = text.replace("<" + name + ">", str(value))
        return text


def replay(session, script):
    """C: lines are sent; S: lines are what must have come when the next C: line, or the end, is reached."""
    answers, wanted, tag = [], [], None
    for row in [r.strip() for r in script.strip().splitlines()] + ["C: "]:
        side, text = row[:2], row[3:] if len(row) > 2 else ""
        if side == "S:":
            wanted.append(session.fill(text))
            continue
        if wanted:
            while not any(match(wanted[-1], a) for a in answers[-1:]):
                answers.append(session.line())
                if tag and answers[-1].startswith(tag + " "):
                    break
            compare(wanted, answers)
            answers, wanted = [], []
        if row == "C: " and text == "":
            continue
        text = session.fill(text)
        # A command begins where no literal or continuation is open.
        if re.match(r"[A-Za-z0-9]+ \S", text) and not session_open(session):
            tag = text.split()[0]
        session.send(text.encode() + b"\r\n")
        session.names[" open"] = bool(re.search(r"\{\d+\}$", text))


def session_open(session):
    return session.names.get(" open", False)


def match(pattern, line):
    return re.fullmatch(pattern, line, re.S | re.I) is not None


def compare(wanted, answers):
    rest = list(answers)
    for pattern in wanted:
        found = next((a for a in rest if match(pattern, a)), None)
        assert found is not None, f"nothing like {pattern!r} in\n" + "\n".join(a[:300] for a in answers)
        rest.remove(found)
    # The tagged answer, and what comes in its place, is the last.
    assert match(wanted[-1], answers[-1]), f"the answer ends with {answers[-1]!r}, not {wanted[-1]!r}"


EXAMPLES = []


def example(section, script, before=None, login=True):
    def run():
        session = Session(login)
        try:
            if before:
                before(session)
            replay(session, script)
        finally:
            session.close()
    run.__doc__ = "RFC " + section
    EXAMPLES.append(run)


def small(i, flags="", subject="x", sender="ann@example.org", date="01-Mar-1994 10:00:00 +0000"):
    return (flags, date, f"From: {sender}\r\nSubject: {subject} {i}\r\n\r\nbody {i}\r\n".encode())


def fresh(session, box, messages):
    session.ask(f"DELETE {box}", None)
    session.ask(f"CREATE {box}")
    if messages:
        session.append(box, messages)


def empty_inbox(session):
    session.ask("SELECT INBOX")
    session.ask("STORE 1:* +FLAGS.SILENT (\\Deleted)", None)
    session.ask("CLOSE")


def inbox_of_18(session):
    """18 messages, 17 the first unseen, 12 the one that is fetched."""
    session.ask(f'LOGIN "{ANN}" "{PASSWORD}"')
    empty_inbox(session)
    session.append("INBOX", [("\\Seen", "17-Jul-1996 02:44:25 -0700", GRAY + GRAY_BODY) if i == 12 else
                             small(i, "" if i in (17, 18) else "\\Seen") for i in range(1, 19)])
    session.ask("LOGOUT", None)
    session.close()
    session.__init__(login=False)


FULL = (r'\* 12 FETCH \(FLAGS \([^)]*\\Seen[^)]*\) INTERNALDATE "17-Jul-1996 02:44:25 -0700" RFC822.SIZE 3370 ENVELOPE '
        r'\("Wed, 17 Jul 1996 02:23:25 -0700 \(PDT\)" "IMAP4rev1 WG mtg summary and minutes" '
        r'\(\("Terry Gray" NIL "gray" "cac.washington.edu"\)\) \(\("Terry Gray" NIL "gray" "cac.washington.edu"\)\) '
        r'\(\("Terry Gray" NIL "gray" "cac.washington.edu"\)\) \(\(NIL NIL "imap" "cac.washington.edu"\)\) '
        r'\(\(NIL NIL "minutes" "CNRI.Reston.VA.US"\)\(?"?.*"John Klensin" NIL "KLENSIN" "MIT.EDU"\)\) NIL NIL '
        r'"<B27397-0100000@cac.washington.edu>"\) BODY \("TEXT" "PLAIN" \("CHARSET" "US-ASCII"\) NIL NIL "7BIT" 3028 92\)\)')
HEADER = r"\* 12 FETCH \(BODY\[HEADER\] \{342\}<Date: Wed, 17 Jul 1996 .*CHARSET=US-ASCII\r\n\r\n>\)"

example("3501 §8, the sample session", rf"""
C: a001 login {ANN} "{PASSWORD}"
S: a001 OK .*
C: a002 select inbox
S: \* 18 EXISTS
S: \* FLAGS \(\\Answered \\Flagged \\Deleted \\Seen \\Draft.*\)
S: \* \d+ RECENT
S: \* OK \[UNSEEN 17\] .+
S: \* OK \[UIDVALIDITY [1-9]\d*\] .+
S: a002 OK \[READ-WRITE\] .+
C: a003 fetch 12 full
S: {FULL}
S: a003 OK .+
C: a004 fetch 12 body[header]
S: {HEADER}
S: a004 OK .+
C: a005 store 12 +flags \deleted
S: \* 12 FETCH \((UID \d+ )?FLAGS \((?=.*\\Seen)(?=.*\\Deleted).*\)\)
S: a005 OK .+
C: a006 logout
S: \* BYE .+
S: a006 OK .+
""", inbox_of_18, login=False)


def tls_and_plain(session):
    inbox_of_18(session)
    replay(session, r"""
C: a000 starttls
S: a000 OK .+
""")
    session.starttls()
    session.names["plain"] = base64.b64encode(f"\0{ANN}\0{PASSWORD}".encode()).decode()


example("9051 §8, the sample session", rf"""
C: A001 AUTHENTICATE PLAIN <plain>
S: A001 OK .*
C: babc ENABLE IMAP4rev2
S: \* ENABLED IMAP4rev2
S: babc OK .+
C: a002 select inbox
S: \* 18 EXISTS
S: \* FLAGS \(\\Answered \\Flagged \\Deleted \\Seen \\Draft.*\)
S: \* OK \[UIDVALIDITY [1-9]\d*\] .+
S: \* LIST \(.*\) "/" INBOX.*
S: a002 OK \[READ-WRITE\] .+
C: a003 fetch 12 full
S: {FULL}
S: a003 OK .+
C: a004 fetch 12 body[header]
S: {HEADER}
S: a004 OK .+
C: a005 store 12 +flags \deleted
S: \* 12 FETCH \((UID \d+ )?FLAGS \((?=.*\\Seen)(?=.*\\Deleted).*\)\)
S: a005 OK .+
C: a006 logout
S: \* BYE .+
S: a006 OK .+
""", tls_and_plain, login=False)

example("3501, 9051 §6.1.1 CAPABILITY", r"""
C: abcd CAPABILITY
S: \* CAPABILITY (?=.*\bIMAP4rev1\b)(?=.*\bIMAP4rev2\b)(?=.*\bSTARTTLS\b).*
S: abcd OK .+
C: efgh STARTTLS
S: efgh OK .+
""", login=False)


def noop_state(session):
    fresh(session, "noop", [small(i, "\\Seen") for i in range(1, 24)])
    session.ask("SELECT noop")
    other = Session()
    other.ask("SELECT noop")
    other.ask("STORE 14 +FLAGS.SILENT (\\Deleted)")
    other.ask("STORE 22 +FLAGS.SILENT (\\Deleted)")
    other.names["uid"] = 22
    other.ask("UID EXPUNGE 22")
    other.append("noop", [small(24)])
    other.close()


example("3501, 9051 §6.1.2 NOOP tells what others did", r"""
C: a047 NOOP
S: \* 22 EXPUNGE
S: \* 23 EXISTS
S: \* 14 FETCH \((UID 14 )?FLAGS \((?=.*\\Seen)(?=.*\\Deleted).*\).*\)
S: a047 OK .+
C: a002 NOOP
S: a002 OK .+
""", noop_state)
example("3501, 9051 §6.1.3 LOGOUT", r"""
C: A023 LOGOUT
S: \* BYE .+
S: A023 OK .+
""")
example("3501, 9051 §6.2.1 STARTTLS, and what may follow it", r"""
C: a001 CAPABILITY
S: \* CAPABILITY .*STARTTLS.*
S: a001 OK .+
C: a002 STARTTLS
S: a002 OK .+
""", login=False)


def tls(session):
    replay(session, r"""
C: a002 STARTTLS
S: a002 OK .+
""")
    session.starttls()


example("3501, 9051 §6.2.1 after the handshake", rf"""
C: a003 CAPABILITY
S: \* CAPABILITY (?!.*STARTTLS)(?=.*AUTH=PLAIN).*
S: a003 OK .+
C: a004 AUTHENTICATE PLAIN dGVzdAB0ZXN0AHRlc3Q=
S: a004 NO .+
C: a005 LOGIN {ANN} "{PASSWORD}"
S: a005 OK .+
C: a006 STARTTLS
S: a006 BAD .+
""", tls, login=False)
example("3501, 9051 §6.2.2 AUTHENTICATE without initial response, cancelled, and a mechanism that is not there", r"""
C: a001 AUTHENTICATE PLAIN
S: \+ .*
C: *
S: a001 BAD .+
C: a002 AUTHENTICATE PLAIN
S: \+ .*
C: dGVzdAB0ZXN0AHRlc3Q=
S: a002 NO .+
C: A003 AUTHENTICATE GSSAPI
S: A003 NO .+
C: a004 AUTHENTICATE PLAIN !!!
S: a004 BAD .+
""", tls, login=False)


def smith(session):
    if not NODE.smith:
        NODE.command("user", "add", "smith@example.org", "--password-stdin", stdin=b"SESAME\n")
        NODE.smith = True


example("3501, 9051 §6.2.3 LOGIN", r"""
C: a000 LOGIN SMITH@example.org WRONG
S: a000 NO .+
C: a001 LOGIN SMITH@example.org SESAME
S: a001 OK .+
""", smith, login=False)
example("3501 §4.3, 9051 §4.3 literals", r"""
C: A001 LOGIN {11}
S: \+ .*
C: FRED FOOBAR {7}
S: \+ .*
C: fat man
S: A001 NO .+
C: A002 BLURDYBLOOP
S: A002 BAD .+
C: A044 NOOP
S: A044 OK .+
""", login=False)
example("9051 §6.3.1 ENABLE", r"""
C: t1 CAPABILITY
S: \* CAPABILITY .*ENABLE.*
S: t1 OK .+
C: t2 ENABLE CONDSTORE X-GOOD-IDEA
S: \* ENABLED CONDSTORE
S: t2 OK .+
C: a1 ENABLE QRESYNC IMAP4rev2
S: \* ENABLED (?=.*QRESYNC)(?=.*IMAP4rev2).*
S: a1 OK .+
C: a2 ENABLE IMAP4rev2
S: \* ENABLED.*
S: a2 OK .+
""")


def box_of_172(session):
    empty_inbox(session)
    session.append("INBOX", [small(i, "" if i in (12, 171) else "\\Seen") for i in range(1, 173)])


example("3501 §6.3.1, 9051 §6.3.2 SELECT", r"""
C: A142 SELECT INBOX
S: \* 172 EXISTS
S: \* \d+ RECENT
S: \* OK \[UNSEEN 12\] .+
S: \* OK \[UIDVALIDITY [1-9]\d*\] .+
S: \* OK \[UIDNEXT [1-9]\d*\] .+
S: \* FLAGS \(\\Answered \\Flagged \\Deleted \\Seen \\Draft.*\)
S: \* OK \[PERMANENTFLAGS \((?=.*\\Deleted)(?=.*\\Seen)(?=.*\\\*).*\)\] .+
S: A142 OK \[READ-WRITE\] .+
C: A143 SELECT "no such mailbox"
S: A143 NO .+
C: A144 CLOSE
S: A144 BAD .+
""", box_of_172)
example("3501 §6.3.2, 9051 §6.3.3 EXAMINE", r"""
C: A932 EXAMINE blurdybloop
S: \* 17 EXISTS
S: \* OK \[UIDVALIDITY [1-9]\d*\] .+
S: \* OK \[UIDNEXT 18\] .+
S: \* FLAGS \(\\Answered \\Flagged \\Deleted \\Seen \\Draft.*\)
S: \* OK \[PERMANENTFLAGS \(\)\] .+
S: A932 OK \[READ-ONLY\] .+
C: A933 STORE 1 +FLAGS (\Deleted)
S: A933 NO .+
""", lambda s: fresh(s, "blurdybloop", [small(i) for i in range(1, 18)]))
example("3501 §6.3.3, 9051 §6.3.4 CREATE", r"""
C: A003 CREATE owatagusiam/
S: A003 OK .+
C: A004 CREATE owatagusiam/blurdybloop
S: A004 OK .+
C: A005 CREATE owatagusiam/blurdybloop
S: A005 NO .+
C: A006 CREATE INBOX
S: A006 NO .+
""")


def delete_state(session):
    for name in ("blurdybloop", "foo/bar", "foo", "sarasoop", "zowie/bar", "zowie"):
        session.ask(f"DELETE {name}", None)
    session.ask("CREATE blurdybloop")
    session.ask("CREATE foo/bar")
    session.ask("DELETE foo", None)         # there may be a folder of this name by now


example("3501 §6.3.4, 9051 §6.3.5 DELETE of a name without mailbox", r"""
C: A682 LIST "" *
S: \* LIST \(.*\) "/" blurdybloop
S: \* LIST \((?=.*\\(Noselect|NonExistent)).*\) "/" foo
S: \* LIST \(.*\) "/" foo/bar
S: A682 OK .+
C: A683 DELETE blurdybloop
S: A683 OK .+
C: A684 DELETE foo
S: A684 NO .+
C: A685 DELETE foo/bar
S: A685 OK .+
""", delete_state)


def delete_state_2(session):
    delete_state(session)
    session.ask("CREATE foo", None)


example("3501 §6.3.4, 9051 §6.3.5 DELETE of a mailbox with others below", r"""
C: A82 LIST "" *
S: \* LIST \(.*\) "/" blurdybloop
S: \* LIST \((?!.*Noselect).*\) "/" foo
S: \* LIST \(.*\) "/" foo/bar
S: A82 OK .+
C: A83 DELETE blurdybloop
S: A83 OK .+
C: A84 DELETE foo
S: A84 OK .+
C: A85 LIST "" *
S: \* LIST \(.*\) "/" foo/bar
S: A85 OK .+
C: A86 LIST "" %
S: \* LIST \((?=.*\\(Noselect|NonExistent)).*\) "/" foo
S: A86 OK .+
""", delete_state_2)
example("3501 §6.3.5, 9051 §6.3.6 RENAME", r"""
C: A682 LIST "" *
S: \* LIST \(.*\) "/" blurdybloop
S: \* LIST \(.*\) "/" foo/bar
S: A682 OK .+
C: A683 RENAME blurdybloop sarasoop
S: A683 OK .+
C: A684 RENAME foo zowie
S: A684 OK .+
C: A685 LIST "" *
S: \* LIST \(.*\) "/" sarasoop
S: \* LIST \(.*\) "/" zowie/bar
S: A685 OK .+
C: A686 RENAME sarasoop zowie/bar
S: A686 NO .+
""", delete_state_2)


def rename_inbox(session):
    for name in ("old-mail", "INBOX/bar"):
        session.ask(f"DELETE {name}", None)
    session.ask("CREATE INBOX/bar")
    empty_inbox(session)
    session.append("INBOX", [small(1), small(2)])


example("3501 §6.3.5, 9051 §6.3.6 RENAME of INBOX moves its messages", r"""
C: Z432 LIST "" INBOX*
S: \* LIST \(.*\) "/" INBOX
S: \* LIST \(.*\) "/" INBOX/bar
S: Z432 OK .+
C: Z433 RENAME INBOX old-mail
S: Z433 OK .+
C: Z434 LIST "" *
S: \* LIST \(.*\) "/" INBOX
S: \* LIST \(.*\) "/" INBOX/bar
S: \* LIST \(.*\) "/" old-mail
S: Z434 OK .+
C: Z435 STATUS old-mail (MESSAGES)
S: \* STATUS old-mail \(MESSAGES 2\)
S: Z435 OK .+
C: Z436 STATUS INBOX (MESSAGES)
S: \* STATUS INBOX \(MESSAGES 0\)
S: Z436 OK .+
""", rename_inbox)
example("3501, 9051 §6.3.6-8 SUBSCRIBE and UNSUBSCRIBE", r"""
C: A002 SUBSCRIBE #news.comp.mail.mime
S: A002 (OK|NO) .+
C: A003 UNSUBSCRIBE #news.comp.mail.mime
S: A003 (OK|NO) .+
C: A004 SUBSCRIBE INBOX
S: A004 OK .+
C: A005 LSUB "" *
S: \* LSUB \(.*\) "/" INBOX
S: A005 OK .+
C: A006 LIST (SUBSCRIBED) "" *
S: \* LIST \(.*\\Subscribed.*\) "/" INBOX
S: A006 OK .+
""")
example("3501 §6.3.8, 9051 §6.3.9 LIST", r"""
C: A101 LIST "" ""
S: \* LIST \(\\Noselect\) "/" ""
S: A101 OK .+
C: A102 LIST #news.comp.mail.misc ""
S: \* LIST \(\\Noselect\) ("/"|NIL) .+
S: A102 OK .+
C: A103 LIST /usr/staff/jones ""
S: \* LIST \(\\Noselect\) "/" .+
S: A103 OK .+
C: A202 LIST ~/Mail/ %
S: A202 OK .+
""")
example("3501 §6.3.9 LSUB", r"""
C: A002 LSUB "news/" "comp/mail/*"
S: \* LSUB \(.*\) "/" news/comp/mail/mime
S: \* LSUB \(.*\) "/" news/comp/mail/misc
S: A002 OK .+
C: A003 LSUB "news/" "comp/%"
S: \* LSUB \(.*\\Noselect.*\) "/" news/comp/mail
S: A003 OK .+
""", lambda s: [s.ask(f"SUBSCRIBE news/comp/mail/{n}", None) for n in ("mime", "misc")])


def extended_list(session):
    for name in ("Fruit", "Fruit/Apple", "Fruit/Banana", "Tofu", "Vegetable", "Vegetable/Broccoli", "Vegetable/Corn"):
        session.ask(f"CREATE {name}", None)
    for name in ("Fruit/Banana", "Fruit/Peach", "INBOX", "Vegetable", "Vegetable/Broccoli"):
        session.ask(f"SUBSCRIBE {name}", None)


example("9051 §6.3.9.8 LIST with options (RFC 5258 §5)", r"""
C: A01 LIST "" "*"
S: \* LIST \(.*\) "/" INBOX
S: \* LIST \(.*\) "/" Fruit
S: \* LIST \(.*\) "/" Fruit/Apple
S: \* LIST \(.*\) "/" Vegetable/Corn
S: A01 OK .+
C: A02 LIST (SUBSCRIBED) "" "*"
S: \* LIST \(.*\\Subscribed.*\) "/" INBOX
S: \* LIST \(.*\\Subscribed.*\) "/" Fruit/Banana
S: \* LIST \((?=.*\\Subscribed)(?=.*\\NonExistent).*\) "/" Fruit/Peach
S: \* LIST \(.*\\Subscribed.*\) "/" Vegetable
S: \* LIST \(.*\\Subscribed.*\) "/" Vegetable/Broccoli
S: A02 OK .+
C: A03 LIST () "" "%" RETURN (CHILDREN)
S: \* LIST \(.*\\HasChildren.*\) "/" Fruit
S: \* LIST \(.*\\HasNoChildren.*\) "/" Tofu
S: \* LIST \(.*\\HasChildren.*\) "/" Vegetable
S: A03 OK .+
C: A05 LIST (REMOTE SUBSCRIBED) "" "*"
S: \* LIST \(.*\\Subscribed.*\) "/" INBOX
S: A05 OK .+
C: A06 LIST (REMOTE) "" "*" RETURN (SUBSCRIBED)
S: \* LIST \(.*\\Subscribed.*\) "/" INBOX
S: \* LIST \((?!.*\\Subscribed).*\) "/" Tofu
S: A06 OK .+
C: BBB LIST "" ("INBOX" "Drafts" "Sent/%")
S: \* LIST \(.*\) "/" INBOX
S: BBB OK .+
C: C01 LIST "" "%"
S: \* LIST \(.*\) "/" Fruit
S: C01 OK .+
C: C02 LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"
S: \* LIST \(.*\) "/" Fruit \("CHILDINFO" \("SUBSCRIBED"\)\)
S: \* LIST \(.*\\Subscribed.*\) "/" Vegetable \("CHILDINFO" \("SUBSCRIBED"\)\)
S: C02 OK .+
C: C03 LIST (RECURSIVEMATCH) "" "%"
S: C03 BAD .+
""", extended_list)
example("9051 §6.3.10 NAMESPACE", r"""
C: A001 NAMESPACE
S: \* NAMESPACE \(\("" "/"\)\) \(\("user/" "/"\)\) NIL
S: A001 OK .+
""")
example("3501 §6.3.10, 9051 §6.3.11 STATUS", r"""
C: A042 STATUS blurdybloop (UIDNEXT MESSAGES)
S: \* STATUS blurdybloop \(((MESSAGES 231|UIDNEXT 232) ?){2}\)
S: A042 OK .+
C: A043 STATUS blurdybloop (BOGUS)
S: A043 BAD .+
C: A044 STATUS "no such mailbox" (MESSAGES)
S: A044 NO .+
""", lambda s: fresh(s, "blurdybloop", [small(i) for i in range(1, 232)]))
example("3501 §6.3.11, 9051 §6.3.12 APPEND", "C: A003 APPEND saved-messages (\\Seen) {310}\nS: \\+ .*\n" +
        "".join(f"C: {line}\n" for line in FOOBAR.decode().split("\r\n")[:-1]) + r"""C:  
S: A003 OK \[APPENDUID \d+ 1\] .+
C: A004 APPEND "no such mailbox" (\Seen) {310}
S: A004 NO \[TRYCREATE\] .+
""", lambda s: fresh(s, "saved-messages", []))


def idle_with_news(session):
    fresh(session, "idle", [small(i) for i in range(1, 5)])
    session.ask("SELECT idle")


def idle():
    """RFC 9051 §6.3.13 IDLE (RFC 2177 §3)"""
    session = Session()
    idle_with_news(session)
    replay(session, r"""
C: A002 IDLE
S: \+ .+
""")
    other = Session()
    other.ask("SELECT idle")
    other.ask("UID STORE 2 +FLAGS.SILENT (\\Deleted)")
    other.ask("UID EXPUNGE 2")
    other.append("idle", [small(9)])
    seen = [session.line()]
    while "* 4 EXISTS" not in seen:
        seen.append(session.line())
    assert "* 2 EXPUNGE" in seen, seen
    replay(session, r"""
C: DONE
S: A002 OK .+
C: A003 FETCH 4 BODY[HEADER.FIELDS (SUBJECT)]
S: \* 4 FETCH \(.*BODY\[HEADER.FIELDS \(SUBJECT\)\] \{.*
S: A003 OK .+
""")
    session.close()
    other.close()


EXAMPLES.append(idle)


def expunge_state(session):
    fresh(session, "e", [small(i, "\\Deleted" if i in (3, 4, 7, 11) else "") for i in range(1, 13)])
    session.ask("SELECT e")


def expunge():
    """RFC 3501, 9051 §6.4.3 EXPUNGE of 3, 4, 7 and 11, in numbers of the moment"""
    session = Session()
    expunge_state(session)
    left = list(range(1, 13))
    session.send("A202 EXPUNGE\r\n")
    lines = session.until("A202")
    for line in lines[:-1]:
        got = re.fullmatch(r"\* (\d+) EXPUNGE", line)
        if got:
            del left[int(got.group(1)) - 1]
    assert left == [1, 2, 5, 6, 8, 9, 10, 12] and lines[-1].startswith("A202 OK"), lines
    session.close()


EXAMPLES.append(expunge)
example("3501, 9051 §6.4.1 CHECK, UNSELECT and CLOSE", r"""
C: FXXZ CHECK
S: FXXZ OK .+
C: A342 UNSELECT
S: A342 OK .+
C: A341 SELECT e
S: \* 12 EXISTS
S: A341 OK .+
C: A343 CLOSE
S: A343 OK .+
C: A344 STATUS e (MESSAGES)
S: \* STATUS e \(MESSAGES 8\)
S: A344 OK .+
""", expunge_state)


def search_state(session):
    messages = [small(i) for i in range(1, 13)]
    for i in (2, 10, 11):
        messages[i - 1] = small(i, "\\Flagged \\Seen")
    messages[4] = small(5, "\\Flagged", sender="Smith <smith@example.com>")
    messages[5] = small(6, "\\Flagged", date="01-Jan-1994 10:00:00 +0000")
    messages[7] = ("", None, "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                   "Content-Transfer-Encoding: 8bit\r\n\r\nмать\r\n".encode())
    fresh(session, "s", messages)
    session.ask("SELECT s")


example("3501 §6.4.4 SEARCH", r"""
C: A282 SEARCH FLAGGED SINCE 1-Feb-1994 NOT FROM "Smith"
S: \* SEARCH 2 10 11
S: A282 OK .+
C: A283 SEARCH TEXT "string not in mailbox"
S: \* SEARCH
S: A283 OK .+
C: A284 SEARCH CHARSET UTF-8 TEXT {8}
S: \+ .*
C: мать
S: \* SEARCH 8
S: A284 OK .+
C: A285 SEARCH CHARSET X-NONE TEXT x
S: A285 NO \[BADCHARSET.*\] .+
C: A286 SEARCH BLURDYBLOOP
S: A286 BAD .+
""", search_state)
example("9051 §6.4.4 SEARCH with RETURN", r"""
C: A281 ENABLE IMAP4rev2
S: \* ENABLED IMAP4rev2
S: A281 OK .+
C: A282 SEARCH RETURN (MIN COUNT) FLAGGED SINCE 1-Feb-1994 NOT FROM "Smith"
S: \* ESEARCH \(TAG "A282"\) MIN 2 COUNT 3
S: A282 OK .+
C: A283 SEARCH RETURN () FLAGGED SINCE 1-Feb-1994 NOT FROM "Smith"
S: \* ESEARCH \(TAG "A283"\) ALL 2,10:11
S: A283 OK .+
C: A284 SEARCH TEXT "string not in mailbox"
S: \* ESEARCH \(TAG "A284"\)
S: A284 OK .+
C: A285 SEARCH CHARSET UTF-8 TEXT {8+}
C: мать
S: \* ESEARCH \(TAG "A285"\) ALL 8
S: A285 OK .+
""", search_state)
example("9051 §6.4.4.4 a saved result (RFC 5182 §3)", r"""
C: A282 SEARCH RETURN (SAVE) FLAGGED SINCE 1-Feb-1994 NOT FROM "Smith"
S: A282 OK .+
C: A283 FETCH $ (UID INTERNALDATE FLAGS)
S: \* 2 FETCH \(UID 2 INTERNALDATE "01-Mar-1994 10:00:00 \+0000" FLAGS \((?=.*\\Flagged)(?=.*\\Seen).*\)\)
S: \* 10 FETCH \(UID 10 .*\)
S: \* 11 FETCH \(UID 11 .*\)
S: A283 OK .+
C: P283 SEARCH CHARSET UTF-8 (OR $ 1,8:9) TEXT {8+}
C: мать
S: \* SEARCH 8
S: P283 OK .+
C: E282 SEARCH RETURN (SAVE MIN) SINCE 1-Feb-1994 NOT FROM "Smith"
S: \* ESEARCH \(TAG "E282"\) MIN 1
S: E282 OK .+
C: E283 SEARCH RETURN (COUNT) $
S: \* ESEARCH \(TAG "E283"\) COUNT 1
S: E283 OK .+
C: F282 SEARCH RETURN (SAVE) TEXT "string not in mailbox"
S: F282 OK .+
C: F283 UID FETCH $ FLAGS
S: F283 OK .+
""", search_state)


def fetch_state(session):
    fresh(session, "f", [("\\Seen" if 2 <= i <= 4 else "", None, FOOBAR) for i in range(1, 6)])
    session.ask("SELECT f")


example("3501, 9051 §6.4.5 FETCH", r"""
C: A654 FETCH 2:4 (FLAGS BODY[HEADER.FIELDS (DATE FROM)])
S: \* 2 FETCH \(FLAGS \(.*\\Seen.*\) BODY\[HEADER.FIELDS \(DATE FROM\)\] \{90\}<Date: Mon, 7 .*COM>\r\n\r\n>\)
S: \* 3 FETCH \(.*\)
S: \* 4 FETCH \(.*\)
S: A654 OK .+
C: A655 FETCH 5 BODY[]<0.48>
S: \* 5 FETCH \((?=.*BODY\[\]<0> \{48\}<Date.*).*\)
S: A655 OK .+
C: A656 FETCH 5 BODY[]<400.48>
S: \* 5 FETCH \(BODY\[\]<400> (""|\{0\}<>)\)
S: A656 OK .+
C: A657 FETCH 9 FLAGS
S: A657 BAD .+
C: A658 FETCH 1 BLURDYBLOOP
S: A658 BAD .+
""", fetch_state)
example("3501, 9051 §6.4.6 STORE", r"""
C: A003 STORE 2:4 +FLAGS (\Deleted)
S: \* 2 FETCH \((UID 2 )?FLAGS \((?=.*\\Deleted)(?=.*\\Seen).*\)\)
S: \* 3 FETCH \(.*\\Deleted.*\)
S: \* 4 FETCH \((?=.*\\Deleted)(?=.*\\Seen).*\)
S: A003 OK .+
""", fetch_state)


def copy_state(session):
    fetch_state(session)
    session.ask("CREATE MEETING", None)
    session.ask("DELETE foo", None)
    session.ask("CREATE foo", None)


example("3501, 9051 §6.4.7 COPY", r"""
C: A003 COPY 2:4 MEETING
S: A003 OK \[COPYUID \d+ 2:4 \d+:\d+\] .+
C: A004 COPY 2:4 "no such mailbox"
S: A004 NO \[TRYCREATE\] .+
C: A005 COPY 1:200 MEETING
S: A005 (BAD|NO) .+
""", copy_state)
example("9051 §6.4.8 MOVE (RFC 6851 §3.1)", r"""
C: a UID MOVE 2:4 foo
S: \* OK \[COPYUID \d+ 2:4 \d+:\d+\] .+
S: \* \d EXPUNGE
S: \* \d EXPUNGE
S: \* \d EXPUNGE
S: a OK .+
C: b FETCH 1:* UID
S: \* 1 FETCH \(UID 1\)
S: \* 2 FETCH \(UID 5\)
S: b OK .+
""", copy_state)


def uid_state(session):
    fresh(session, "u", [small(i, "\\Deleted" if i in (20, 21, 22, 5) else "\\Seen") for i in range(1, 26)])
    session.ask("SELECT u")


example("3501 §6.4.8, 9051 §6.4.9 UID", r"""
C: A999 UID FETCH 23:4294967295 FLAGS
S: \* 23 FETCH \((?=.*FLAGS \(.*\\Seen.*\))(?=.*UID 23).*\)
S: \* 24 FETCH \((?=.*FLAGS \(.*\\Seen.*\))(?=.*UID 24).*\)
S: \* 25 FETCH \((?=.*FLAGS \(.*\\Seen.*\))(?=.*UID 25).*\)
S: A999 OK .+
C: A003 UID EXPUNGE 20:22
S: \* 2[012] EXPUNGE
S: \* 2[012] EXPUNGE
S: \* 2[012] EXPUNGE
S: A003 OK .+
C: A004 UID FETCH 9999 FLAGS
S: A004 OK .+
C: A005 UID NOOP
S: A005 BAD .+
""", uid_state)
example("3501 §6.5.1 a command that is an experiment", r"""
C: a441 CAPABILITY
S: \* CAPABILITY .*
S: a441 OK .+
C: A442 XPIG-LATIN
S: A442 BAD .+
""")
example("3501, 9051 §7.1 errors of syntax and state, after which the session goes on", r"""
C: A001 FETCH 1 FLAGS
S: A001 BAD .+
C: A002 SELECT
S: A002 BAD .+
C: A003 LOGIN x y
S: A003 BAD .+
C: A004 APPEND
S: A004 BAD .+
C: A005 NOOP extra
S: A005 BAD .+
C: A006 NOOP
S: A006 OK .+
""")


def main():
    global NODE  # pylint: disable=global-statement
    NODE = Node(sys.argv[1])
    NODE.smith = False
    started = time.monotonic()
    try:
        tap.run(EXAMPLES)
    finally:
        print(f"# {len(EXAMPLES)} examples in {time.monotonic() - started:.1f} s", flush=True)
        NODE.close()


main()
