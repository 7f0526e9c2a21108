#!/usr/bin/env python3
"""Hard messages, made from a seed: message N of seed S is always the same.

    mimegen.py [--seed S] [--count N] DIRECTORY

writes DIRECTORY/00000.eml and so on. Used by tests/dovecot; import `message(seed, n)` for one.
What is hard is drawn independently, so that a message often has several troubles at once.
"""
import argparse
import base64
import os
import quopri
import random

WORDS = ("alpha beta gamma delta Prickle mail Grüße naïve Привет 日本 meeting invoice quick brown fox "
         "straße ﬁne Ångström ÇA 東京 Ελλάδα re fwd needle haystack").split()
NAMES = ["Ann Example", "Bob", "Mary Smith", '"Joe Q. Public"', "=?utf-8?q?J=C3=BCrgen_M?=", '"O\'Brien, Pat"',
         "=?iso-8859-1?Q?Andr=E9?= Pirard", "J. Random", "Пётр", '"quoted \\"pair\\" x"', "", "a.b.c", "=?utf-8?b?0J/RgNC40LLQtdGC?="]
LOCALS = ["ann", "bob", "mary.smith", '"quoted local"', "a+b", "x..y", ".dot", "dot.", "jürgen", "user%host", "!bang"]
HOSTS = ["example.org", "example.com", "[192.0.2.1]", "sub.example.net", "host", "EXAMPLE.org", "bücher.example"]
BOUNDARIES = ["b", "bb", "b--", "=_x", "----=_NextPart_000_0001", "a b", "frontier", "b", "x" * 70, "x" * 80, "x" * 90, "'()+_,-./:=?"]
TYPES = ["text/plain", "text/html", "TEXT/Plain", "image/png", "application/octet-stream", "text/x-weird", "message/delivery-status",
         "application/pdf", "text/plain ", "text / plain", "text", "", "/", "text/", "foo/bar/baz", "audio/basic", "message/partial",
         "message/external-body", "text/plain (comment)", "(c)text/plain", "multipart", "text/calendar"]
CHARSETS = ["us-ascii", "utf-8", "UTF-8", "iso-8859-1", "windows-1252", "iso-8859-15", "koi8-r", "iso-2022-jp", "x-unknown", "gb2312",
            "shift_jis", "euc-kr", "big5", '"utf-8"', "", "utf-7"]
ENCODINGS = ["7bit", "8bit", "binary", "base64", "quoted-printable", "BASE64", "Quoted-Printable", "x-uuencode", "base64 ", "7bit;", ""]
DATES = ["Fri, 21 Nov 1997 09:55:06 -0600", "Tue, 1 Jul 2003 10:52:37 +0200", "21 Nov 97 09:55:06 GMT", "Thu, 13 Feb 1969 23:32 -0330",
         "Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", "Mon, 32 Jan 2020 10:00:00 +0000", "1 Jan 2020 25:00:00 +0000",
         "Thursday, 13-Feb-69 23:32:54 UTC", "not a date", "", "Sun, 29 Feb 2004 23:59:60 EST", "29 Feb 2003 10:00:00 PST",
         "Wed, 04 Mar 2020 12:00 A", "Wed, 4 Mar 2020 12.00.00 Z", "12 March 2021 01:02:03 MDT", "Fri,21 Nov 2025 09:55:06 +1400",
         "Sat, 01 Jan 2022 00:00:00", "1 Jan 70 00:00:00 +0000", "1 Jan 2038 00:00:00 -1200", "(c) 3 May 2019 (d) 10:11:12 +0530 (e)"]


class Gen:
    def __init__(self, seed, n):
        self.r = random.Random(seed * 1000003 + n)
        self.n = n
        self.eol = self.r.choices([b"\r\n", b"\n", None], [6, 3, 1])[0]

    def pick(self, items):
        return self.r.choice(items)

    def chance(self, p):
        return self.r.random() < p

    def words(self, lo, hi):
        return " ".join(self.pick(WORDS) for _ in range(self.r.randint(lo, hi)))

    # ---- header values ----

    def fold(self, text):
        """Folding at blanks, now and then in odd ways."""
        out = text
        for _ in range(self.r.choice([0, 0, 0, 1, 2])):
            at = [i for i, c in enumerate(out) if c == " "]
            if at:
                i = self.pick(at)
                out = out[:i] + self.pick(["\n ", "\n\t", "\n  ", "\n \n "]) + out[i + 1:]
        return out

    def comment(self):
        return self.pick(["(c)", "(nested (comment) here)", "(with \\) escape)", "( )", "(Ünï)", "(unfinished", "()"])

    def address(self):
        local, host, name = self.pick(LOCALS), self.pick(HOSTS), self.pick(NAMES)
        kind = self.r.randint(0, 21)
        if kind < 8:
            return f"{name} <{local}@{host}>"
        if kind < 12:
            return f"{local}@{host}"
        return [f"{local}@{host} ({name})", f"<{local}@{host}>", f"{name} <@a.example,@b.example:{local}@{host}>", f"{name}", f"{local}",
                f"{name} <{local}>", f"{name} <{local}@>", f"{name} <>", f"{local} @ {host} {self.comment()}", f"{name} {self.comment()} <{local}@{host}>"][kind - 12]

    def addresses(self):
        out = []
        for _ in range(self.r.choice([0, 1, 1, 1, 1, 2, 3, 8])):
            if self.chance(0.1):
                members = ", ".join(self.address() for _ in range(self.r.randint(0, 3)))
                out.append(f"{self.pick(['Undisclosed recipients', 'A Group', chr(34) + 'g, h' + chr(34), ''])}:{members}{self.pick([';', ';', ';', ''])}")
            else:
                out.append(self.address())
        text = self.pick([", ", ", ", ",", " , ", ",, ", "; "]).join(out)
        if self.chance(0.05):
            text += self.pick([",", " ", "<", ">", '"', "(", "\\", ";", ":", "@", "."])
        return self.fold(text)

    def encoded_word(self):
        text, charset = self.words(1, 2), self.pick(["utf-8", "UTF-8", "iso-8859-1", "x-unknown", "us-ascii", "utf-8*en"])
        raw = text.encode("latin-1" if charset == "iso-8859-1" else "utf-8", "replace")
        if self.chance(0.5):
            body = base64.b64encode(raw).decode()
            if self.chance(0.1):
                body = body.rstrip("=")
            return f"=?{charset}?{self.pick('Bb')}?{body}?="
        body = "".join(f"={c:02X}" if c > 126 or c < 33 or chr(c) in "=?_" else chr(c) for c in raw)
        return f"=?{charset}?{self.pick('Qq')}?{body}?="

    def subject(self):
        text = " ".join(self.encoded_word() if self.chance(0.3) else self.words(1, 3) for _ in range(self.r.randint(0, 4)))
        if self.chance(0.5):
            text = "".join(self.pick(["Re: ", "RE:", "Fwd: ", "fw:", "[list] ", "Re[2]: ", "Re [x]: ", "[a][b] ", "[fwd: "])
                           for _ in range(self.r.randint(1, 3))) + text
        if self.chance(0.15):
            text += self.pick([" (fwd)", "(FWD) ", "]", "  ", "\t", " =?broken", "=?utf-8?q?=", "=?utf-8?x?a?=", " (fwd) (fwd)"])
        if self.chance(0.1):
            text = text.replace(" ", self.pick(["  ", "\t", " \t "]))
        return self.fold(text)

    def msgid(self):
        # From a small set, so that threads form.
        n = self.r.randint(0, 2500)
        return self.pick([f"<{n}@t.example>"] * 8 + [f"<{n} @t.example>", f'<"{n}"@t.example>', f"{n}@t.example", f"<{n}>", f"<{n}@t.example", f"<{n}@[t.example]>"])

    def token(self):
        return self.pick(["x", "name.txt", "long file name.pdf", "naïve.txt", "a;b", 'q"q', "=?utf-8?q?f=C3=BC?=", "", "x" * 100])

    def param(self, name):
        v = self.token()
        q = '"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"'
        kind = self.r.randint(0, 15)
        if kind < 6:
            return f"; {name}={q}"
        return [f";{name}={v}", f"; {name} = {q}", f"; {name}*=utf-8''na%C3%AFve.txt", f"; {name}*0={q}; {name}*1={q}",
                f"; {name}*0*=utf-8'en'a%20; {name}*1=b%; {name}*2*=%C3%BC", f"; {name}*1=b; {name}*0=a", f"; {name}*0=a; {name}*2=c",
                f"; {name}", f"; {name}={q} (c)", f'; {name}="unfinished', f"; ; {name}={q}", f"; {name.upper()}*0=a; {name}*1=b"][kind - 6 if kind - 6 < 12 else 0]

    # ---- bodies ----

    def text(self):
        lines = [self.words(0, 12) for _ in range(self.r.choice([0, 1, 1, 2, 5, 20]))]
        if self.chance(0.1):
            lines.append(self.pick(["--", "--b", "--bb", "-- ", "--frontier--", "--=_x", "--x", "-", "--b--"]))
        if self.chance(0.05):
            lines.append("x" * self.pick([998, 5000, 70000]))
        return "\n".join(lines) + self.pick(["", "\n", "\n", "\n\n"])

    def body_bytes(self, encoding, charset):
        charset = charset.strip('"') or "utf-8"
        try:
            raw = self.text().encode(charset, "replace")
        except LookupError:
            raw = self.text().encode("utf-8")
        kind = encoding.strip().lower()
        if kind == "base64":
            raw = base64.encodebytes(raw)
            if self.chance(0.15):
                raw = self.pick([raw[:-3], raw + b"====\n", raw.replace(b"A", b"A!"), raw + b"trailing text\n", b"\n" + raw])
        elif kind == "quoted-printable":
            raw = quopri.encodestring(raw)
            if self.chance(0.15):
                raw += self.pick([b"=ZZ\n", b"=", b"=\n", b"x=3", b"trail  \n", b"=3D=3d\n"])
        return raw

    # ---- parts ----

    def content_headers(self, ctype, out):
        if self.chance(0.2):
            out.append(("Content-ID", self.msgid()))
        if self.chance(0.2):
            out.append(("Content-Description", self.fold(self.words(1, 4))))
        if self.chance(0.25):
            out.append(("Content-Disposition", self.pick(["attachment", "inline", "ATTACHMENT", "", "x-weird", "form-data"])
                        + (self.param("filename") if self.chance(0.8) else "") + (self.param("size") if self.chance(0.2) else "")))
        if self.chance(0.1):
            out.append(("Content-Language", self.pick(["en", "en, de", "en,de,fr", "", "x!", "i-klingon (c), en"])))
        if self.chance(0.1):
            out.append(("Content-Location", self.fold(self.pick(["http://example.org/a b", "x", ""]))))
        if self.chance(0.05):
            out.append(("Content-MD5", "Q2hlY2sgSW50ZWdyaXR5IQ=="))
        if self.chance(0.03):
            out.append(("Content-Type", "image/gif"))

    def finish(self, headers, body):
        self.r.shuffle(headers)
        out = b""
        for name, value in headers:
            if self.chance(0.05):
                name = self.pick([name.upper(), name.lower(), name + " "])
            sep = self.pick([": "] * 12 + [":", ":  ", ":\t", ":\n "])
            raw = (name + sep + value + "\n").encode("utf-8", "surrogateescape")
            if self.chance(0.02):
                raw = raw.decode("utf-8", "surrogateescape").encode("latin-1", "replace")
            out += raw
        if self.chance(0.03):
            out += self.pick([b"no colon here\n", b" leading blank\n", b": no name\n", b"X-Long: " + b"y " * 3000 + b"\n", b"X\n",
                              b"From sender@example.org Fri Nov 21\n"])
        if self.chance(0.02):
            return out      # no blank line: the header just ends
        return out + b"\n" + body

    def leaf(self):
        headers = []
        body_charset, encoding = "utf-8", ""
        if self.chance(0.85):
            ctype = self.pick(TYPES[:8]) if self.chance(0.8) else self.pick(TYPES)
            value = ctype
            if self.chance(0.6):
                body_charset = self.pick(CHARSETS)
                value += "; charset=" + body_charset
            if self.chance(0.3):
                value += self.param("name")
            headers.append(("Content-Type", self.fold(value)))
            self.content_headers(ctype, headers)
        if self.chance(0.5):
            encoding = self.pick(ENCODINGS)
            headers.append(("Content-Transfer-Encoding", encoding))
        return headers, self.body_bytes(encoding, body_charset)

    def multipart(self, depth):
        boundary = self.pick(BOUNDARIES) if self.chance(0.7) else f"b{depth}_{self.r.randint(0, 9)}"
        sub = self.pick(["mixed", "alternative", "related", "digest", "signed", "MIXED", "x-y", "report"])
        value = f'multipart/{sub}; boundary="{boundary}"'
        if self.chance(0.05):
            value = self.pick([f"multipart/{sub}", f'multipart/{sub}; boundary=""', f"multipart/{sub}; boundary={boundary}", f"multipart/{sub}; boundary",
                               f'multipart/{sub}; boundary*0="{boundary[:1]}"; boundary*1="{boundary[1:]}"', f'multipart/{sub}; charset=x; boundary="{boundary}"'])
        headers = [("Content-Type", self.fold(value))]
        self.content_headers("multipart", headers)
        if self.chance(0.1):
            headers.append(("Content-Transfer-Encoding", self.pick(ENCODINGS)))
        used = boundary[:80].encode()
        body = self.pick([b"", b"", b"preamble\n", b"pre\n\n", b"--notit\n"])
        for _ in range(self.r.choice([0, 1, 2, 2, 3, 6])):
            body += b"--" + used + self.pick([b""] * 8 + [b" ", b"  \t", b"trailing", b"-"]) + b"\n"
            body += self.part(depth + 1)
            body += self.pick([b"\n"] * 9 + [b""])
        if self.chance(0.9):
            body += b"--" + used + b"--" + self.pick([b"\n", b"\n", b"", b" \n", b"x\n"])
            body += self.pick([b"", b"", b"", b"epilogue\n", b"\nepilogue", b"--" + used + b"\nnot a part\n", b"\n"])
        return headers, body

    def part(self, depth, top=False):
        roll = self.r.random()
        if depth < 6 and roll < (0.45 if top else 0.2):
            headers, body = self.multipart(depth)
        elif depth < 6 and roll < (0.5 if top else 0.35):
            headers = [("Content-Type", self.pick(["message/rfc822", "message/rfc822; name=x", "Message/RFC822", "message/global"]))]
            self.content_headers("message", headers)
            body = self.envelope_part(depth + 1)
        else:
            headers, body = self.leaf()
        if top:
            return headers, body
        return self.finish(headers, body)

    def envelope_headers(self):
        out = []
        for name, make, p in (("From", self.addresses, 0.9), ("Sender", self.addresses, 0.2), ("Reply-To", self.addresses, 0.2),
                              ("To", self.addresses, 0.8), ("Cc", self.addresses, 0.3), ("Bcc", self.addresses, 0.1),
                              ("Subject", self.subject, 0.9), ("Message-ID", self.msgid, 0.9),
                              ("In-Reply-To", lambda: self.fold(" ".join(self.msgid() for _ in range(self.r.randint(0, 2)))), 0.3),
                              ("References", lambda: self.fold(" ".join(self.msgid() for _ in range(self.r.randint(0, 6)))), 0.4),
                              ("Received", lambda: self.fold("from a by b; " + self.pick(DATES)), 0.5), ("X-Tag", lambda: self.words(1, 3), 0.3)):
            if self.chance(p):
                out.append((name, make()))
        if self.chance(0.92):
            d = self.pick(DATES) if self.chance(0.3) else (f"{self.r.randint(1, 28)} {self.pick(['Jan', 'Jun', 'Dec'])} {self.r.randint(2018, 2026)} "
                                                          f"{self.r.randint(0, 23):02}:{self.r.randint(0, 59):02}:{self.r.randint(0, 59):02} "
                                                          f"{self.pick(['+0000', '-0800', '+0530', 'GMT', 'EST'])}")
            out.append(("Date", self.fold(d)))
        if self.chance(0.04):
            dup = self.pick(["To", "From", "Cc"])
            out.append((dup, self.addresses()))
        if self.chance(0.02):
            out.append((self.pick(["Subject", "Date", "Message-ID"]), self.words(1, 3)))
        if self.chance(0.01):
            out += [(f"X-{i}", "v" * (i % 50)) for i in range(300)]
        return out

    def envelope_part(self, depth, top=True):
        headers, body = self.part(depth, True)
        headers = self.envelope_headers() + headers
        if self.chance(0.8):
            headers.append(("MIME-Version", self.pick(["1.0", "1.0 (c)", "2.0"])))
        return self.finish(headers, body)

    def special(self):
        """A few shapes that chance would not find."""
        kind = self.n % 8
        if kind == 0:      # nesting near and above the limit
            depth = self.pick([97, 98, 99, 100, 101, 120])
            out = b"MIME-Version: 1.0\n" + b"".join(b"Content-Type: multipart/mixed; boundary=n%d\n\n--n%d\n" % (i, i) for i in range(depth))
            return out + b"Content-Type: text/plain\n\ndeep\n"
        if kind == 1:
            depth = self.pick([98, 99, 100, 101])
            return b"Content-Type: message/rfc822\n\n" * depth + b"Subject: deep\n\nneedle\n"
        if kind == 2:      # one boundary, many levels
            return (b"Content-Type: multipart/mixed; boundary=same\n\n--same\n" * 20) + b"Content-Type: text/plain\n\nx\n--same\n\ny\n--same--\n"
        if kind == 3:
            return b"Subject: only a header"
        if kind == 4:
            return self.pick([b"", b"\n", b"\n\n", b"x", b"x\n", b"From: a@b", b"\nbody only\n", b":\n", b" \n", b"--\n"])
        if kind == 5:
            return b"To: " + b", ".join(b"u%d@example.org" % i for i in range(self.pick([100, 1500]))) + b"\nSubject: many\n\nx\n"
        if kind == 6:
            n = self.pick([50, 400])
            return b"Content-Type: multipart/mixed; boundary=p\n\n" + b"".join(b"--p\n\npart %d\n" % i for i in range(n)) + b"--p--\n"
        return b"Subject: " + b"=?utf-8?q?a?= " * 200 + b"\n\nx\n"

    def message(self):
        raw = self.special() if self.chance(0.03) else self.envelope_part(0)
        raw = raw.replace(b"\r\n", b"\n")
        if self.eol is None:
            lines = raw.split(b"\n")
            return b"".join(x + self.pick([b"\n", b"\r\n"]) for x in lines[:-1]) + lines[-1]
        return raw.replace(b"\n", self.eol)


def message(seed, n):
    return Gen(seed, n).message()


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--count", type=int, default=5000)
    ap.add_argument("directory")
    args = ap.parse_args()
    os.makedirs(args.directory, exist_ok=True)
    for n in range(args.count):
        with open(os.path.join(args.directory, f"{n:05}.eml"), "wb") as f:
            f.write(message(args.seed, n))


if __name__ == "__main__":
    main()
