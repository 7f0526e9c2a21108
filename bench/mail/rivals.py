"""Private Postfix and Dovecot instances with Debian's defaults, for side-by-side measurements.

Nothing of the system's own configuration is touched: everything lives in one directory.
"""
import os
import shutil
import signal
import socket
import subprocess
import time


def wait_for_port(port, seconds=15):
    end = time.time() + seconds
    while time.time() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


class Dovecot:
    """IMAP, POP3 and LMTP; Maildir; mail belongs to Debian's user mail.

    Passwords of user<n>@example.org are kept as Prickle keeps them (Argon2id, 64 MiB), those of
    plain<n>@example.org in the clear, the cheapest that there is.
    """

    def __init__(self, directory, base_port, password, users):
        self.dir = os.path.join(directory, "dovecot")
        self.imap, self.imaps, self.pop3, self.lmtp = (base_port + 143, base_port + 993, base_port + 110,
                                                       base_port + 24)
        os.makedirs(self.dir + "/mail")
        shutil.chown(self.dir + "/mail", "mail", "mail")
        os.chmod(directory, 0o755)
        hashed = subprocess.run(["doveadm", "pw", "-s", "ARGON2ID", "-p", password], check=True,
                                capture_output=True, text=True).stdout.strip()
        with open(self.dir + "/users", "w") as f:
            for i in range(users):
                f.write(f"user{i}@example.org:{hashed}::::::\nplain{i}@example.org:{{PLAIN}}{password}::::::\n")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                        "-nodes", "-days", "2", "-subj", "/CN=rival.example", "-keyout", self.dir + "/key.pem",
                        "-out", self.dir + "/cert.pem"], check=True, stderr=subprocess.DEVNULL)
        with open(self.dir + "/dovecot.conf", "w") as f:
            f.write(f"""
base_dir = {self.dir}/run
state_dir = {self.dir}/state
log_path = {self.dir}/log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = yes
ssl_cert = <{self.dir}/cert.pem
ssl_key = <{self.dir}/key.pem
disable_plaintext_auth = no
auth_cache_size = 10M
auth_cache_ttl = 1 hour
mail_location = maildir:{self.dir}/mail/%u
mail_uid = mail
mail_gid = mail
mail_max_userip_connections = 100000
first_valid_uid = 1
default_process_limit = 2000
default_client_limit = 20000
passdb {{
  driver = passwd-file
  args = {self.dir}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={self.dir}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {self.imap}
  }}
  inet_listener imaps {{
    port = {self.imaps}
  }}
  process_limit = 1000
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {self.pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.lmtp}
  }}
}}
""")
        self.process = subprocess.Popen(["dovecot", "-F", "-c", self.dir + "/dovecot.conf"],
                                        start_new_session=True)
        wait_for_port(self.imap)
        wait_for_port(self.lmtp)

    def pids(self):
        return [self.process.pid]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Postfix:
    """SMTP in, virtual domain example.org, delivery over LMTP to Dovecot. Default durability."""

    def __init__(self, directory, base_port, lmtp_port):
        self.dir = os.path.join(directory, "postfix")
        self.smtp = base_port + 25
        os.makedirs(self.dir + "/etc")
        os.makedirs(self.dir + "/spool")
        os.makedirs(self.dir + "/data")
        shutil.chown(self.dir + "/data", "postfix", "postfix")
        os.chmod(directory, 0o755)
        with open(self.dir + "/etc/main.cf", "w") as f:
            f.write(f"""
compatibility_level = 3.6
queue_directory = {self.dir}/spool
data_directory = {self.dir}/data
maillog_file = {self.dir}/spool/maillog
maillog_file_prefixes = {self.dir}
mail_owner = postfix
setgid_group = postdrop
myhostname = rival.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
virtual_mailbox_domains = example.org
virtual_mailbox_maps = static:yes
virtual_transport = lmtp:inet:127.0.0.1:{lmtp_port}
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_relay_restrictions = reject_unauth_destination
local_recipient_maps =
alias_maps =
""")
        with open(self.dir + "/etc/master.cf", "w") as f:
            f.write(f"""
127.0.0.1:{self.smtp} inet n - n - 100 smtpd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
""")
        subprocess.run(["postfix", "-c", self.dir + "/etc", "start"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(self.smtp)
        with open(self.dir + "/spool/pid/master.pid") as f:
            self.master = int(f.read())

    def pids(self):
        return [self.master]

    def stop(self):
        subprocess.run(["postfix", "-c", self.dir + "/etc", "stop"], check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
