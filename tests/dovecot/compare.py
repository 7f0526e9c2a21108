#!/usr/bin/env python3
"""Compares our answers about messages with Dovecot's: BODYSTRUCTURE, BODY, ENVELOPE, sections, SEARCH, SORT, THREAD.

    compare.py --ours COMMAND|HOST:PORT[:USER:PASSWORD] [--theirs ...] [--seed S] [--count N] [--eml DIRECTORY]...

Without --theirs a Dovecot of its own is started on standard input and output (doveadm exec imap) over a Maildir that
this script fills. "{dir}" in a command is that Maildir's cur. A server on a port gets the messages by APPEND
into a new mailbox. Differences are allowed only if differences.md lists their class; all others fail.
"""
import argparse
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import mimegen  # noqa: E402

ARRIVAL = 1600000000


class Atom(bytes):
    """An unquoted word of an IMAP response."""


class Imap:
    """One connection: a child process or a socket."""

    def __init__(self, read, write):
        self.r, self.w, self.tag = read, write, 0
        self.greeting = self.r.readline()

    def line(self):
        """A response line with its literals, as one list of values."""
        raw = []
        while True:
            part = self.r.readline()
            if not part:
                raise EOFError("server closed the connection")
            m = re.search(rb"\{(\d+)\}\r\n$", part)
            raw.append(part[:m.start()] if m else part.rstrip(b"\r\n"))
            if not m:
                return raw
            raw.append(self.read_exactly(int(m.group(1))))

    def read_exactly(self, n):
        out = b""
        while len(out) < n:
            more = self.r.read(n - len(out))
            if not more:
                raise EOFError("server closed the connection")
            out += more
        return out

    def command(self, *parts):
        """parts: str goes as it is, bytes as a literal. Returns (status line, untagged lines)."""
        self.tag += 1
        tag = b"t%d" % self.tag
        out = tag
        for p in parts:
            out += b" " + (p.encode() if isinstance(p, str) else b"{%d+}\r\n%s" % (len(p), p))
        self.w.write(out + b"\r\n")
        self.w.flush()
        lines = []
        while True:
            raw = self.line()
            if raw[0].startswith(tag + b" "):
                return raw[0][len(tag) + 1:], lines
            lines.append(raw)


def tokens(raw):
    """Values of a response: nested lists, bytes for strings, Atom for words, None for NIL."""
    stack, at = [[]], 0
    for i, piece in enumerate(raw):
        if i % 2:
            stack[-1].append(bytes(piece))
            continue
        at = 0
        while at < len(piece):
            c = piece[at:at + 1]
            if c == b" ":
                at += 1
            elif c == b"(":
                stack.append([])
                at += 1
            elif c == b")":
                done = stack.pop()
                stack[-1].append(done)
                at += 1
            elif c == b'"':
                text, at = b"", at + 1
                while piece[at:at + 1] != b'"':
                    if piece[at:at + 1] == b"\\":
                        at += 1
                    text += piece[at:at + 1]
                    at += 1
                at += 1
                stack[-1].append(text)
            else:
                m = re.match(rb"[^ ()\"\[]*(\[[^\]]*\])?[^ ()\"]*", piece[at:])
                word = m.group(0) or c
                at += len(word)
                stack[-1].append(None if word == b"NIL" else Atom(word))
    return stack[0]


# ---- servers ----

def as_mail_user(directory):
    """Dovecot refuses to be root; hand the directory to nobody."""
    if os.getuid() != 0:
        return None
    user = pwd.getpwnam("nobody")
    for base, dirs, files in os.walk(directory):
        for name in [base] + [os.path.join(base, x) for x in dirs + files]:
            os.chown(name, user.pw_uid, user.pw_gid)
    return user


def start_dovecot(directory):
    conf = os.path.join(directory, "dovecot.conf")
    os.makedirs(os.path.join(directory, "run"), exist_ok=True)
    with open(conf, "w") as f:
        f.write(f"""base_dir = {directory}/run
state_dir = {directory}/run
log_path = {directory}/log
ssl = no
mail_location = maildir:{directory}/Maildir
mail_home = {directory}
first_valid_uid = 1
default_internal_user = nobody
default_login_user = nobody
default_internal_group = nogroup
stats_writer_socket_path =
imap_max_line_length = 1M
""")
    user = as_mail_user(directory)
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": directory, "USER": user.pw_name if user else pwd.getpwuid(os.getuid()).pw_name, "TZ": "UTC"}

    def drop():
        if user:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
    p = subprocess.Popen(["doveadm", "-c", conf, "exec", "imap"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         env=env, cwd=directory, preexec_fn=drop)
    return Imap(p.stdout, p.stdin), p


def start(spec, directory, messages):
    if re.fullmatch(r"[^ ]+:\d+(:[^:]+:.*)?", spec):
        host, port, *login = spec.split(":", 3)
        s = socket.create_connection((host, int(port)), timeout=120)
        imap = Imap(s.makefile("rb"), s.makefile("wb"))
        if login:
            check(imap.command("LOGIN", login[0].encode(), login[1].encode()))
        box = f"compare{int(time.time())}"
        check(imap.command("CREATE", box))
        for i, raw in enumerate(messages):
            when = time.strftime("%d-%b-%Y %H:%M:%S +0000", time.gmtime(arrival(i)))
            # What Dovecot makes of a file: lines end in CRLF, NUL becomes 0x80.
            text = re.sub(rb"\r?\n", b"\r\n", raw).replace(b"\0", b"\x80")
            check(imap.command("APPEND", box, '(\\Seen) "%s"' % when, text))
        check(imap.command("SELECT", box))
        return imap, None
    p = subprocess.Popen([x.replace("{dir}", os.path.join(directory, "Maildir", "cur")) for x in spec.split()],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    imap = Imap(p.stdout, p.stdin)
    imap.command("SELECT", "INBOX")
    return imap, p


def check(answer):
    if not answer[0].upper().startswith(b"OK"):
        raise SystemExit(f"server said {answer[0]!r}")
    return answer


def arrival(i):
    return ARRIVAL + (i * 7919 % 100003) * 37


def fill(directory, messages):
    cur = os.path.join(directory, "Maildir", "cur")
    for d in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(directory, "Maildir", d))
    for i, raw in enumerate(messages):
        path = os.path.join(cur, f"{1000000000 + i}.M{i}.test:2,S")
        with open(path, "wb") as f:
            f.write(raw)
        os.utime(path, (arrival(i), arrival(i)))


# ---- comparison ----

class Report:
    def __init__(self, messages, limit):
        self.messages, self.limit = messages, limit
        self.allowed, self.failed, self.same = Counter(), Counter(), Counter()
        self.shown = Counter()

    def ok(self, what, n=1):
        self.same[what] += n

    def allow(self, cls):
        self.allowed[cls] += 1

    def fail(self, what, number, path, ours, theirs):
        self.failed[what] += 1
        self.shown[what] += 1
        if self.shown[what] <= self.limit:
            print(f"# DIFFERENT {what} message {number} at {path}\n#   ours   {ours!r:.600}\n#   theirs {theirs!r:.600}")


def structure(v):
    """A BODY or BODYSTRUCTURE value as a dictionary."""
    d = {}
    if v and isinstance(v[0], list):
        kids = [x for x in v if isinstance(x, list)]
        n = next(i for i, x in enumerate(v) if not isinstance(x, list))
        d["parts"] = [structure(x) for x in v[:n]]
        d["subtype"], rest = v[n], v[n + 1:]
        if rest:
            d["params"], rest = pairs(rest[0]), rest[1:]
        del kids
    else:
        d["type"], d["subtype"], d["params"], d["id"], d["description"], d["encoding"], d["size"] = v[0], v[1], pairs(v[2]), v[3], v[4], v[5], int(v[6])
        rest = v[7:]
        kind = (v[0] or b"").lower()
        if kind == b"text":
            d["lines"], rest = int(rest[0]), rest[1:]
        elif kind == b"message" and (v[1] or b"").lower() == b"rfc822":
            d["envelope"], d["parts"], d["lines"], rest = rest[0], [structure(rest[1])], int(rest[2]), rest[3:]
        if rest:
            d["md5"], rest = rest[0], rest[1:]
    if rest:
        dsp = rest[0]
        d["disposition"] = dsp if dsp is None else (dsp[0], pairs(dsp[1]))
        d["language"], d["location"] = rest[1], rest[2]
    return d


def pairs(v):
    # RFC 2045 §5.1: the order of parameters has no meaning
    return v if v is None else sorted(zip(v[0::2], v[1::2]))


BARE_TYPE = re.compile(rb"(?im)^content-type[ \t]*:\s*(multipart|message)\s*(\(.*\)\s*)?(;|$)")


def has_global(raw):
    return re.search(rb"(?i)message/global", raw) is not None


def unclosed_comment(raw):
    """A header field opens more comments than it closes."""
    return any(re.sub(rb"\\.", b"", x).count(b"(") > re.sub(rb"\\.", b"", x).count(b")") for x in re.findall(rb"(?mi)^(?:from|to|cc|bcc|sender|reply-to)[ \t]*:.*(?:\r?\n[ \t].*)*", raw))


def compare_envelope(rep, number, a, b):
    """Same but for names that Dovecot takes from a comment without end."""
    if not unclosed_comment(rep.messages[number - 1]):
        return False
    for u, v in zip(a, b):
        if u == v:
            continue
        if not isinstance(u, list) or not isinstance(v, list) or len(u) != len(v):
            return False
        if any(x[1:] != y[1:] or (x[0] != y[0] and x[0] is not None) for x, y in zip(u, v)):
            return False
    return True


def tail_is_multipart(d):
    while d.get("parts"):
        if "type" not in d:
            return True
        d = d["parts"][-1]
    return False


def ends_in_empty_part(d):
    if tail_is_multipart(d):
        return True
    while d.get("parts"):
        d = d["parts"][-1]
    return d.get("size", 1) == 0


def star_index(params):
    """Dovecot 2.3 gives "name*" the index of the parameter before it."""
    return any(re.search(rb"\*\d+\*$", k) for k, _ in params or [])


def compare_structure(rep, what, number, ours, theirs, path="", parent_message=False):
    if ours == theirs:
        return True
    good = True
    skip = set()
    if "type" in ours and (theirs.get("subtype") == b"" or (theirs.get("subtype") == b"octet-stream" and ours["type"] == b"text"
                                                            and BARE_TYPE.search(rep.messages[number - 1]))):
        rep.allow("invalid-content-type")
        skip |= {"type", "subtype", "params", "lines"}
    for key in sorted(set(ours) | set(theirs)):
        a, b = ours.get(key), theirs.get(key)
        if a == b or key in skip:
            continue
        if key in ("type", "subtype") and a.lower() == b.lower():
            rep.allow("case-of-type")
            continue
        if key == "params" and a and b and [(x.lower(), y.lower()) for x, y in a] == [(b"charset", b"us-ascii")] == b:
            rep.allow("case-of-type")
            continue
        if key == "parts":
            if len(a or []) != len(b or []):
                good = False
                rep.fail(what, number, path + "/parts", len(a or []), len(b or []))
                continue
            for i, (x, y) in enumerate(zip(a, b)):
                good &= compare_structure(rep, what, number, x, y, f"{path}/{i + 1}", "type" in ours)
            continue
        if key == "size" and "envelope" in ours and b - a in (1, 2) and ends_in_empty_part(ours):
            rep.allow("line-end-before-boundary")
            continue
        if key == "lines" and "envelope" in ours and b - a == 1 and ends_in_empty_part(ours):
            continue
        if key in ("params", "disposition"):
            pa = a if key == "params" else a and a[1]
            pb = b if key == "params" else b and b[1]
            if star_index(pb) and len(pa or []) == len(pb or []):
                rep.allow("parameter-index")
                continue
        if key == "envelope" and compare_envelope(rep, number, a, b):
            rep.allow("unfinished-comment")
            continue
        good = False
        rep.fail(what, number, f"{path}/{key}", a, b)
    return good


GLOBAL_DIFFERS = set()


def compare_fetch(rep, ours, theirs, count):
    structures = {}
    step = 200
    for first in range(1, count + 1, step):
        span = f"{first}:{min(first + step - 1, count)}"
        command = f"FETCH {span} (RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE)"
        a, b = fetched(ours, command), fetched(theirs, command)
        for n in sorted(set(a) | set(b)):
            x, y = a.get(n, {}), b.get(n, {})
            structures[n] = x.get(b"BODYSTRUCTURE")
            for key in (b"RFC822.SIZE", b"ENVELOPE", b"BODY", b"BODYSTRUCTURE"):
                what = key.decode()
                u, v = x.get(key), y.get(key)
                if u is None or v is None:
                    rep.fail(what, n, "", u, v)
                elif u == v:
                    rep.ok(what)
                elif key in (b"BODY", b"BODYSTRUCTURE"):
                    scratch = Report(rep.messages, 0)
                    if has_global(rep.messages[n - 1]) and not compare_structure(scratch, what, n, structure(u), structure(v)):
                        rep.allow("message-global")
                        GLOBAL_DIFFERS.add(n)
                    elif compare_structure(rep, what, n, structure(u), structure(v)):
                        rep.ok(what)
                elif compare_envelope(rep, n, u, v):
                    rep.allow("unfinished-comment")
                else:
                    rep.fail(what, n, "", u, v)
    return structures


def fetched(imap, command):
    out = {}
    for raw in check(imap.command(command))[1]:
        v = tokens(raw)
        if len(v) > 3 and v[2] == b"FETCH":
            items = v[3]
            out[int(v[1])] = {bytes(items[i]).upper(): items[i + 1] for i in range(0, len(items), 2)}
    return out


def numbers_of(d, prefix=""):
    """Part numbers of a structure, with what may be asked about each."""
    if "type" not in d and "parts" in d:
        for i, p in enumerate(d["parts"]):
            yield from one_number(p, f"{prefix}{i + 1}")
    else:
        yield from one_number(d, prefix + "1")


def one_number(p, n):
    yield n
    yield n + ".MIME"
    if "envelope" in p:
        yield n + ".HEADER"
        yield n + ".TEXT"
        yield n + ".HEADER.FIELDS (SUBJECT X-TAG)"
        inner = p["parts"][0]
        yield from numbers_of(inner, n + ".")
    elif "type" not in p and "parts" in p:
        yield from numbers_of(p, n + ".")


def compare_sections(rep, ours, theirs, structures):
    for n, s in structures.items():
        if s is None or n in GLOBAL_DIFFERS:
            continue
        asked = [x for x in numbers_of(structure(s)) if x.count(".") < 12][:40]
        asked += ["HEADER", "TEXT", "HEADER.FIELDS (FROM SUBJECT \"X-Tag\")", "HEADER.FIELDS.NOT (RECEIVED DATE)"]
        command = f"FETCH {n} (" + " ".join(f"BODY.PEEK[{x}]" for x in asked) + ")"
        a, b = fetched(ours, command).get(n, {}), fetched(theirs, command).get(n, {})
        for x in asked:
            u, v = section_of(a, x), section_of(b, x)
            if u == v:
                rep.ok("SECTION")
            elif allowed_section(rep, x, u, v):
                rep.ok("SECTION")
            else:
                rep.fail("SECTION", n, x, u, v)


def section_of(items, name):
    want = re.sub(r'"', "", name).upper()
    for k, v in items.items():
        if re.sub(r'"', "", k.decode()).upper() == f"BODY[{want}]":
            return v
    return "missing"


def allowed_section(rep, name, u, v):
    if u is None and v == b"":
        rep.allow("absent-part")
        return True
    if not isinstance(u, bytes) or not isinstance(v, bytes):
        return False
    if name.startswith("HEADER.FIELDS ") and not u.endswith(b"\r\n\r\n") and u != b"\r\n" and v in (u + b"\r\n", u + b"\r\n\r\n"):
        rep.allow("no-blank-line")
        return True
    if v == u + b"\r\n":
        rep.allow("line-end-before-boundary")
        return True
    return False


SEARCHES = [
    ["TEXT", b"needle"], ["BODY", b"needle"], ["BODY", b"haystack"], ["TEXT", "Grüße".encode()], ["BODY", "GRÜSSE".encode()],
    ["BODY", "grüße".encode()], ["BODY", "ПРИВЕТ".encode()], ["BODY", "日本".encode()], ["BODY", "naive".encode()], ["BODY", "naïve".encode()],
    ["BODY", "fine".encode()], ["BODY", "ﬁne".encode()], ["BODY", "angstrom".encode()], ["BODY", "Ångström".encode()], ["BODY", "ça".encode()],
    ["TEXT", "東京".encode()], ["TEXT", "ελλάδα".encode()], ["TEXT", b"quick brown"], ["TEXT", b"multipart/mixed"], ["TEXT", b"xyzzy"],
    ["BODY", b"multipart"], ["TEXT", b"Subject: re"], ["SUBJECT", b"meeting"], ["SUBJECT", "straße".encode()], ["SUBJECT", "Привет".encode()],
    ["SUBJECT", b"re:"], ["SUBJECT", b"a b"], ["SUBJECT", b"[list]"], ["SUBJECT", b"quick brown"], ["FROM", b"ann"], ["FROM", b"example.org"], ["FROM", "Jürgen".encode()],
    ["FROM", b"jurgen"], ["FROM", b"Joe Q. Public"], ["FROM", b"<ann@example.org>"], ["TO", b"bob@example.com"], ["TO", b"Group"], ["TO", b"MISSING_DOMAIN"],
    ["TO", b"quoted local"], ["CC", b"mary"], ["BCC", b"@"], ["FROM", "пётр".encode()], ["FROM", b"O'Brien"], ["TO", "bücher".encode()],
    ["HEADER", "X-Tag", b"needle"], ["HEADER", "X-Tag", b""], ["HEADER", "Subject", b""], ["HEADER", "Message-ID", b"t.example"],
    ["HEADER", "References", b"<1"], ["HEADER", "Content-Type", b"multipart"], ["HEADER", "Received", b"from a by b"], ["HEADER", "Date", b"Nov"],
    ["HEADER", "From", b"=?"], ["HEADER", "Mime-Version", b"1.0"], ["HEADER", "Content-Type", b"charset=utf-8"], ["HEADER", "No-Such", b""],
    ["SENTBEFORE", "1-Jan-2020"], ["SENTON", "21-Nov-1997"], ["SENTSINCE", "1-Jun-2024"], ["SENTON", "29-Feb-2004"], ["SENTBEFORE", "1-Jan-1971"],
    ["SENTSINCE", "1-Jan-1900"], ["NOT", "SENTSINCE", "1-Jan-1900"], ["SENTON", "1-Jan-2022"], ["LARGER", "2000"], ["SMALLER", "300"],
    ["OR", "SUBJECT", b"alpha", "FROM", b"bob"], ["NOT", "TEXT", b"a"], ["TEXT", b"needle", "NOT", "BODY", b"needle"],
    ["BODY", b"uce"], ["TEXT", b"@t.example>"], ["BODY", b"alpha beta"], ["TEXT", "ü".encode()], ["TEXT", b"frontier"],
]

SORTS = ["(ARRIVAL)", "(DATE)", "(FROM)", "(TO)", "(CC)", "(SUBJECT)", "(SIZE)", "(REVERSE DATE)", "(REVERSE SUBJECT DATE)", "(FROM REVERSE SIZE)",
         "(SUBJECT REVERSE DATE)", "(REVERSE ARRIVAL)", "(TO CC FROM)"]


def untagged(answer, name):
    for raw in answer[1]:
        v = tokens(raw)
        if len(v) > 1 and v[1] == name:
            return v[2:]
    return []


def compare_search(rep, ours, theirs, explain):
    for keys in SEARCHES:
        a = {int(x) for x in untagged(check(ours.command("SEARCH CHARSET UTF-8", *keys)), b"SEARCH")}
        b = {int(x) for x in untagged(check(theirs.command("SEARCH CHARSET UTF-8", *keys)), b"SEARCH")}
        name = " ".join(k if isinstance(k, str) else k.decode() for k in keys)
        rep.ok("SEARCH (message x key)", len(rep.messages) - len(a ^ b))
        for n in sorted(a ^ b):
            cls = explain(keys, n, n in a)
            if cls:
                rep.allow(cls)
            else:
                rep.fail("SEARCH", n, name, n in a, n in b)


def fields(raw, name):
    """Values of all fields of a name anywhere in the message, unfolded, without simple comments."""
    found = re.findall(rb"(?mi)^" + name + rb"[ \t]*:[ \t]*((?:.*)(?:\r?\n[ \t].*)*)", raw)
    return [re.sub(rb"\([^()]*\)", b"", re.sub(rb"\r?\n", b"", v)) for v in found]


def invalid_type(raw):
    return any(not re.match(rb"\s*[^\s/;\"=]+\s*/\s*[^\s/;\"=]+\s*(;|$)", v) for v in fields(raw, b"content-type"))


def duplicate_type(raw):
    return any(len(fields(block + b"\n", b"content-type")) > 1 for block in re.split(rb"\r?\n\r?\n", raw))


def no_mime(raw):
    """Some header has a transfer encoding, but neither MIME-Version nor Content-Type."""
    for block in re.split(rb"\r?\n\r?\n", raw):
        if fields(block, b"content-transfer-encoding") and not fields(block, b"content-type") and not fields(block, b"mime-version"):
            return True
    return False


def bad_base64(raw):
    """A body that says base64 has other bytes, or goes on behind its padding."""
    blocks = re.split(rb"\r?\n\r?\n", raw)
    return any(b"base64" in b"".join(fields(a, b"content-transfer-encoding")).lower() and re.search(rb"[^A-Za-z0-9+/=\s]|=\s*[A-Za-z0-9]", b)
               for a, b in zip(blocks, blocks[1:]))


def folded_boundary(raw):
    return any(b"\t" in v for v in re.findall(rb'(?i)boundary="([^"]*)"', raw))


def valid_dates(raw):
    """Years of all dates that look like RFC 5322 dates."""
    return [int(y) for y in re.findall(rb"\d{1,2}[ \t\r\n]+(?:[A-Z][a-z]{2})[a-z]*[ \t\r\n]+(\d{4})", raw)]


def explain_search(rep, keys, n, ours):
    """The class of differences.md that a different SEARCH answer falls into, or None."""
    raw, text = rep.messages[n - 1], any(k in ("TEXT", "BODY") for k in keys)
    words = {k for k in keys if isinstance(k, str)}
    negated = "NOT" in words
    if any(k.startswith("SENT") for k in words):
        if duplicated(raw) & {b"date"}:
            return "duplicate-fields"
        if any(y < 1970 for y in valid_dates(raw)) or re.search(rb"-69 |1 Jan\s+70", raw):
            return "date-before-1970"
        # Dovecot files a missing or wrong date under 1970-01-01.
        return "no-valid-date" if ours == negated else None
    # "TEXT x NOT BODY x": finding more may show as finding less.
    ours = ours or negated
    if text and ours and invalid_type(raw):
        return "invalid-content-type"
    if text and has_global(raw):
        return "message-global"
    if text and duplicate_type(raw):
        return "duplicate-content-type"
    if text and no_mime(raw):
        return "no-mime-version"
    if text and ours and re.search(rb'(?i)charset\s*=\s*("")?\s*(;|\r?$)', raw, re.M):
        return "empty-charset"
    if ours and b"=?x-unknown?" in raw:
        return "unknown-charset-word"
    if ours and re.search(rb"(?i)=\?[^?]*\*[a-z]+\?", raw):
        return "language-in-word"
    if text and re.search(rb"(?m)^[!-9;-~]+[ \t]*:([ \t]*\r?\n[ \t]+|[ \t]{2,})=\?", raw):
        return "blank-before-word"
    if ours and re.search(rb"(?i)=\?iso-2022-jp\?b\?[^?]*\?=\s+=\?iso-2022-jp\?b\?", raw):
        return "character-across-words"
    if text and bad_base64(raw):
        return "malformed-base64"
    if text and folded_boundary(raw):
        return "folded-boundary"
    if words & {"FROM", "TO", "CC", "BCC"} and unclosed_comment(raw):
        return "unfinished-comment"
    return None


def duplicated(raw):
    """Fields that may stand once and stand twice (RFC 5322 §3.6)."""
    head = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0]
    names = [m.group(1).lower() for m in re.finditer(rb"(?m)^([!-9;-~]+)[ \t]*:", head)]
    c = Counter(names)
    return {n for n in (b"subject", b"date", b"message-id", b"from", b"to", b"cc", b"references", b"in-reply-to") if c[n] > 1}


def order_classes(raw):
    """Why SORT and THREAD may place this message elsewhere."""
    head = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0] + b"\n"
    subject = b"".join(fields(head, b"subject"))
    if duplicated(raw):
        return "duplicate-fields"
    if any(y < 1970 for y in valid_dates(head)) or re.search(rb"-69 |Jan\s+70", b"".join(fields(head, b"date"))):
        return "date-before-1970"
    if b"x-unknown?" in subject:
        return "unknown-charset-word"
    if re.search(rb"(?i)(^|\n)subject[^\n]*( \r?\n[^\n]*)*[ ]\r?\n[ \t]", head):
        return "blank-before-fold"
    if re.search(rb"\?=[ \t]+=\?(?![^?]+\?[bqBQ]\?[^?]*\?=)", subject):
        return "blank-before-word"
    if any(re.search(rb'<[^>]*<[^>]*["(]', x) for name in (b"references", b"in-reply-to", b"message-id") for x in fields(head, name)):
        return "id-after-broken-id"
    if re.search(rb"(?i)=\?[^?]*\*[a-z]+\?", subject):
        return "language-in-word"
    return None


def comparable(rep):
    """Sequence set of the messages whose place no allowed class changes."""
    good = []
    for i, raw in enumerate(rep.messages):
        cls = order_classes(raw)
        if cls:
            rep.allow(cls + " (SORT, THREAD)")
        else:
            good.append(i + 1)
    out, start_at = [], None
    for i, n in enumerate(good):
        start_at = n if start_at is None else start_at
        if i + 1 == len(good) or good[i + 1] != n + 1:
            out.append(f"{start_at}:{n}")
            start_at = None
    return ",".join(out)


def compare_sort(rep, ours, theirs, which):
    for program in SORTS:
        a = [int(x) for x in untagged(check(ours.command("SORT", program, "UTF-8", which)), b"SORT")]
        b = [int(x) for x in untagged(check(theirs.command("SORT", program, "UTF-8", which)), b"SORT")]
        if a == b:
            rep.ok("SORT (messages)", len(a))
            continue
        # Messages between other neighbours than before
        na, nb = dict(zip(a, a[1:] + [0])), dict(zip(b, b[1:] + [0]))
        moved = [x for x in a if na[x] != nb.get(x)]
        rep.fail("SORT", moved[:6], program, [(x, na[x]) for x in moved[:6]], [(x, nb.get(x)) for x in moved[:6]])


def compare_thread(rep, ours, theirs, which):
    for algorithm in ("REFERENCES", "ORDEREDSUBJECT"):
        a = untagged(check(ours.command("THREAD", algorithm, "UTF-8", which)), b"THREAD")
        b = untagged(check(theirs.command("THREAD", algorithm, "UTF-8", which)), b"THREAD")
        if a == b:
            rep.ok(f"THREAD {algorithm} (threads)", len(a))
            continue
        sa, sb = {repr(x) for x in a}, {repr(x) for x in b}
        if sa == sb:
            at = next(i for i in range(len(a)) if a[i] != b[i])
            rep.fail("THREAD " + algorithm, a[at], "order of threads", a[at:at + 3], b[at:at + 3])
        else:
            rep.fail("THREAD " + algorithm, 0, f"{len(sa - sb)} of {len(a)} threads", sorted(sa - sb, key=len)[:4], sorted(sb - sa, key=len)[:4])


def tap(rep):
    """One test a kind of answer; then the classes that were needed, as comments."""
    kinds = sorted(set(rep.same) | set(rep.failed))
    print(f"1..{len(kinds)}")
    for i, k in enumerate(kinds, 1):
        # "SORT (messages)" counts what "SORT" failed in
        bad = sum(n for f, n in rep.failed.items() if k == f or k.startswith(f + " ("))
        print(f"{'not ok' if bad else 'ok'} {i} - {k} as Dovecot: {rep.same[k]} equal, {bad} different")
    for k, n in sorted(rep.allowed.items()):
        print(f"# allowed {k}: {n}")
    return 1 if rep.failed else 0


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--ours", required=True)
    ap.add_argument("--theirs")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--count", type=int, default=5000)
    ap.add_argument("--eml", action="append", default=[])
    ap.add_argument("--show", type=int, default=5, help="differences shown of each kind")
    ap.add_argument("--only", default="fetch,sections,search,sort,thread")
    ap.add_argument("--tap", action="store_true", help="report as TAP")
    ap.add_argument("--keep", help="use this directory and leave it")
    args = ap.parse_args()
    messages = []
    for d in args.eml:
        for name in sorted(os.listdir(d)):
            if name.endswith(".eml"):
                with open(os.path.join(d, name), "rb") as f:
                    messages.append(f.read())
    messages += [mimegen.message(args.seed, n) for n in range(args.count)]
    if not args.theirs and not shutil.which("doveadm"):
        print("1..0 # SKIP Dovecot is not installed (apt-get install dovecot-imapd)")
        return 0
    directory = args.keep or tempfile.mkdtemp(prefix="prickle-dovecot.")
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o755)
    children = []
    try:
        fill(directory, messages)
        if args.theirs:
            theirs, p = start(args.theirs, directory, messages)
        else:
            theirs, p = start_dovecot(directory)
            check(theirs.command("SELECT", "INBOX"))
        children.append(p)
        # Dovecot renamed nothing, but the files are now what both read.
        ours, p = start(args.ours, directory, messages)
        children.append(p)
        rep = Report(messages, args.show)
        only = args.only.split(",")
        structures = {}
        if "fetch" in only or "sections" in only:
            structures = compare_fetch(rep, ours, theirs, len(messages))
        if "sections" in only:
            compare_sections(rep, ours, theirs, structures)
        if "search" in only:
            compare_search(rep, ours, theirs, lambda *x: explain_search(rep, *x))
        which = comparable(rep) if "sort" in only or "thread" in only else ""
        if "sort" in only:
            compare_sort(rep, ours, theirs, which)
        if "thread" in only:
            compare_thread(rep, ours, theirs, which)
    finally:
        for p in children:
            if p:
                p.kill()
                p.wait()
        if not args.keep:
            shutil.rmtree(directory, ignore_errors=True)
    if args.tap:
        return tap(rep)
    print(f"{len(messages)} messages")
    for k, n in sorted(rep.same.items()):
        print(f"   same      {k}: {n}")
    for k, n in sorted(rep.allowed.items()):
        print(f"   allowed   {k}: {n}")
    for k, n in sorted(rep.failed.items()):
        print(f"   DIFFERENT {k}: {n}")
    return 1 if rep.failed else 0


if __name__ == "__main__":
    sys.exit(main())
