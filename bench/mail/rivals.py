"""Private Postfix and Dovecot instances with Debian's defaults, for side-by-side measurements.

Nothing of the system's own configuration is touched: everything lives in one directory.
"""
import os
import pwd
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


def ensure_user(name):
    try:
        pwd.getpwnam(name)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
                       check=True)


class Dovecot:
    """IMAP, POP3 and LMTP; every user<n>@example.org with one password; Maildir."""

    def __init__(self, directory, base_port, password, scheme_hash=None):
        self.dir = os.path.join(directory, "dovecot")
        self.imap, self.pop3, self.lmtp = base_port + 143, base_port + 110, base_port + 24
        ensure_user("vmail")
        os.makedirs(self.dir + "/mail")
        shutil.chown(self.dir + "/mail", "vmail", "vmail")
        os.chmod(directory, 0o755)
        stored = scheme_hash or "{PLAIN}" + password
        with open(self.dir + "/dovecot.conf", "w") as f:
            f.write(f"""
base_dir = {self.dir}/run
state_dir = {self.dir}/state
log_path = {self.dir}/log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_cache_size = 10M
auth_cache_ttl = 1 hour
mail_location = maildir:{self.dir}/mail/%u
mail_uid = vmail
mail_gid = vmail
first_valid_uid = 1
default_process_limit = 2000
default_client_limit = 20000
passdb {{
  driver = static
  args = password={stored}
}}
userdb {{
  driver = static
  args = uid=vmail gid=vmail home={self.dir}/mail/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {self.imap}
  }}
  inet_listener imaps {{
    port = 0
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
        self.process.wait(20)


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
