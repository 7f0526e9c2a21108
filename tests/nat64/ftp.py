#!/usr/bin/env python3
"""FTP through a running NAT64 (RFC 6384): vsftpd on IPv4, curl, lftp and ftplib on a host that has IPv6 alone."""
import contextlib
import ftplib
import os
import shutil
import socket
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lab import Lab, Line, embed, tap, wait_until  # noqa: E402

PRICKLE = sys.argv[1] if len(sys.argv) > 1 else None
CONTENT = os.urandom(300000)
CONFIG = """listen=YES
listen_address={address}
background=NO
anonymous_enable=YES
no_anon_password=NO
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_root={root}
ftp_username=bin
secure_chroot_dir={empty}
nopriv_user=nobody
connect_from_port_20=YES
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
xferlog_enable=YES
log_ftp_protocol=YES
vsftpd_log_file={log}
"""


class Vsftpd:
    def __init__(self, lab, ns, address, tls):
        if not shutil.which("vsftpd"):
            raise tap.Skip("vsftpd is not installed")
        root, empty = os.path.join(lab.directory(), "ftp"), os.path.join(lab.directory(), "empty")
        os.makedirs(os.path.join(root, "in"))
        os.makedirs(empty)
        os.chmod(lab.directory(), 0o711)
        os.chmod(root, 0o555)
        os.chmod(os.path.join(root, "in"), 0o777)
        with open(os.path.join(root, "file"), "wb") as f:
            f.write(CONTENT)
        os.chmod(os.path.join(root, "file"), 0o644)
        self.root, self.log = root, os.path.join(lab.directory(), "vsftpd.log")
        text = CONFIG.format(address=address, root=root, empty=empty, log=self.log)
        if tls:
            pem = os.path.join(lab.directory(), "pem")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", pem, "-out",
                            pem + ".crt", "-days", "2", "-subj", "/CN=ftp.test"], check=True, capture_output=True)
            text += f"ssl_enable=YES\nallow_anon_ssl=YES\nrsa_cert_file={pem}.crt\nrsa_private_key_file={pem}\nrequire_ssl_reuse=NO\n"
        path = lab.write("vsftpd.conf", text)
        os.chmod(path, 0o600)
        self.process = ns.start("vsftpd", path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        wait_until(lambda: self._listens(ns, address), timeout=30, what=f"vsftpd on {address}")
        lab.keep(self)

    def _listens(self, ns, address):
        if self.process.poll() is not None:
            raise AssertionError(f"vsftpd ended: {self.process.stdout.read().decode()}")
        s = ns.socket(socket.AF_INET, socket.SOCK_STREAM)
        with contextlib.closing(s):
            return s.connect_ex((address, 21)) == 0

    def heard(self):
        """Commands that reached the server, with their arguments."""
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return [line.split('"')[3] for line in f if "FTP command:" in line]

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@contextlib.contextmanager
def network(tls=False, **settings):
    with Lab(PRICKLE) as lab:
        net = Line(lab, untouched=True)
        server = Vsftpd(lab, net.four, net.FOUR, tls)
        instance = net.nat64("tc", **settings).start()
        yield lab, net, server, instance


def words(server):
    return [command.split()[0].upper() for command in server.heard()]


def need(program):
    if not shutil.which(program):
        raise tap.Skip(f"{program} is not installed")


def fetch(lab, net, *options):
    """With curl; what came."""
    path = os.path.join(lab.directory(), "got")
    net.six.run("curl", "-sS", "-m20", *options, "-o", path, f"ftp://[{embed(net.FOUR)}]/file")
    with open(path, "rb") as f:
        return f.read()


def rfc6384_6_passive_transfers_with_curl():
    need("curl")
    with network() as (lab, net, server, instance):
        assert fetch(lab, net) == CONTENT
        assert "PASV" in words(server) and "EPSV" not in words(server), server.heard()
        assert instance.process.poll() is None


def rfc6384_7_active_transfers_with_curl():
    need("curl")
    with network() as (lab, net, server, instance):
        assert fetch(lab, net, "-P", "-") == CONTENT
        assert "PORT" in words(server) and "EPRT" not in words(server), server.heard()
        assert instance.process.poll() is None


def rfc6384_7_active_transfers_with_address_dependent_filtering():
    need("curl")
    with network(filtering="address-dependent") as (lab, net, server, _instance):
        assert fetch(lab, net, "-P", "-") == CONTENT
        assert "PORT" in words(server), server.heard()


def rfc6384_7_lftp_lists_uploads_and_fetches_in_both_modes():
    need("lftp")
    with network() as (lab, net, server, _instance):
        local = lab.write("up", "x" * 5000)
        for mode in ("on", "off"):
            script = (f"set ftp:passive-mode {mode}; set net:max-retries 1; set net:timeout 10; "
                      f"open ftp://[{embed(net.FOUR)}]; ls; put {local} -o in/{mode}; get file -o {local}-{mode}; bye")
            assert "file" in net.six.run("lftp", "-c", script)
            with open(f"{local}-{mode}", "rb") as f:
                assert f.read() == CONTENT
            with open(os.path.join(server.root, "in", mode), encoding="ascii") as f:
                assert f.read() == "x" * 5000
        heard = words(server)
        assert "PASV" in heard and "PORT" in heard, server.heard()
        assert "EPSV" not in heard and "EPRT" not in heard, server.heard()


def rfc6384_5_a_refused_auth_tls_changes_nothing():
    need("curl")
    with network() as (lab, net, server, _instance):
        assert fetch(lab, net, "--ssl") == CONTENT
        heard = words(server)
        assert "AUTH" in heard and "PASV" in heard and "EPSV" not in heard, server.heard()


def rfc6384_5_tls_passes_and_leaves_the_alg():
    need("curl")
    need("openssl")
    with network(tls=True) as (lab, net, server, instance):
        assert fetch(lab, net, "--ssl-reqd", "-k") == CONTENT
        heard = words(server)
        assert "AUTH" in heard and "EPSV" in heard and "PASV" not in heard, server.heard()
        assert instance.reason("alg") < 20, instance.reasons()


class V6Ftp(ftplib.FTP):
    """Takes its sockets in a namespace."""

    def __init__(self, ns):
        super().__init__(timeout=15)
        self.ns = ns

    def connect(self, *a, **k):
        with self.ns.entered():
            return super().connect(*a, **k)

    def ntransfercmd(self, *a, **k):
        with self.ns.entered():
            return super().ntransfercmd(*a, **k)


def everything(ftp):
    got = []
    ftp.retrbinary("RETR file", got.append)
    return b"".join(got)


def rfc6384_11_status_by_algs():
    with network() as (_, net, server, _instance):
        ftp = V6Ftp(net.six)
        ftp.connect(embed(net.FOUR), 21)
        ftp.login()
        assert ftp.sendcmd("ALGS STATUS64") == "216 EPSVEPRT"
        assert ftp.sendcmd("ALGS DISABLE64") == "216 NONE"
        assert everything(ftp) == CONTENT
        assert "EPSV" in words(server), server.heard()
        assert ftp.sendcmd("ALGS ENABLE64") == "216 EPSVEPRT"
        assert everything(ftp) == CONTENT
        assert "PASV" in words(server) and "ALGS" not in words(server), server.heard()
        for passive in (False, True):
            ftp.set_pasv(passive)
            assert everything(ftp) == CONTENT
        ftp.quit()


def control_connections_survive_kill_9():
    with network() as (_, net, server, instance):
        ftp = V6Ftp(net.six)
        ftp.connect(embed(net.FOUR), 21)
        ftp.login()
        assert everything(ftp) == CONTENT       # replies were rewritten: the numbers of both sides differ by now
        ftp.sendcmd("ALGS STATUS64")
        for passive in (True, False):
            instance.kill()
            instance.start()
            ftp.set_pasv(passive)
            assert everything(ftp) == CONTENT
        ftp.quit()
        assert words(server).count("USER") == 1


def commands_in_pieces_arrive_whole():
    # As typed: a byte in a segment, with Nagle's algorithm on.
    with network() as (lab, net, server, _instance):
        with net.six.entered():
            s = lab.keep(socket.create_connection((embed(net.FOUR), 21), timeout=15))
        f = s.makefile("rb")
        assert f.readline().startswith(b"220")
        for command, code in ((b"USER ftp\r\n", b"331"), (b"PASS x\r\n", b"230"), (b"EPSV\r\n", b"229"), (b"NOOP\r\n", b"200"),
                              (b"ALGS STATUS64\r\n", b"216")):
            for at in range(len(command)):
                s.sendall(command[at:at + 1])
            reply = f.readline()
            assert reply.startswith(code), f"{command}: {reply}"
        assert "PASV" in words(server), server.heard()


tap.run([rfc6384_6_passive_transfers_with_curl, rfc6384_7_active_transfers_with_curl,
         rfc6384_7_active_transfers_with_address_dependent_filtering, rfc6384_7_lftp_lists_uploads_and_fetches_in_both_modes,
         rfc6384_5_a_refused_auth_tls_changes_nothing, rfc6384_5_tls_passes_and_leaves_the_alg, rfc6384_11_status_by_algs,
         control_connections_survive_kill_9, commands_in_pieces_arrive_whole])
