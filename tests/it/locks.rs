//! Locks between two real Linux client kernels, called back by the server, over its restart and
//! over theirs.

use std::time::Duration;

use tests::{
    net,
    server::{Server, Share},
    vm::Vm,
};

/// `hold N KIND FILE FIRST LEN &` takes a lock, waiting for it, and holds it until `release N`;
/// `held N` waits until it is held; each N once. `try KIND FILE FIRST LEN` takes one at once and
/// gives it back, or fails.
const PRELUDE: &str = r#"
cat > /tmp/lock.py <<'END'
import fcntl, os, sys, time
name, kind, path, first, length = sys.argv[1:]
f = open(path, "r+")
wait = 0 if name != "try" else fcntl.LOCK_NB
mode = fcntl.LOCK_SH if kind.startswith("shared-") else fcntl.LOCK_EX
try:
    if kind.endswith("flock"):
        fcntl.flock(f, mode | wait)
    else:
        fcntl.lockf(f, mode | wait, int(length), int(first))
except OSError as e:
    print("no:", e)
    sys.exit(1)
if name == "try":
    sys.exit(0)
open("/tmp/held-" + name, "w")
while not os.path.exists("/tmp/release-" + name):
    time.sleep(0.05)
END
hold() { exec python3 /tmp/lock.py "$@"; }
try() { python3 /tmp/lock.py try "$@"; }
held() { until [ -e /tmp/held-$1 ]; do kill -0 $2; sleep 0.05; done; }
release() { touch /tmp/release-$1; wait $2; }
not() { if "$@"; then echo "it should have failed: $*"; exit 1; fi; }
# A machine without these packages has neither their users nor their folders.
user() { grep -q "^$1:" /etc/passwd || echo "$1:x:$2:65534::$3:/usr/sbin/nologin" >> /etc/passwd; }
user _rpc 901 /run/rpcbind; user statd 902 /var/lib/nfs
mkdir -p /var/lib/nfs/sm /var/lib/nfs/sm.bak
rpcbind; rpc.statd --no-notify
mkdir /mnt/n
mount -t nfs -o vers=3,retry=0,hard "$HOST_IP:/export" /mnt/n
cd /mnt/n
"#;

const FIRST: &str = r#"
touch f g
hold range lockf f 0 100 & range=$!; held range $range
hold whole flock g 0 0 & whole=$!; held whole $whole
$GUEST meet a-holds
$GUEST meet a-releases
release range $range; release whole $whole
$GUEST meet a-released
hold again lockf f 0 100 & again=$!; held again $again
$GUEST meet a-holds-again
$GUEST meet a-is-restarted
release again $again
$GUEST meet a-released-again
hold last lockf f 0 100 & last=$!; held last $last
$GUEST meet a-holds-a-last-time
sm-notify -f
$GUEST meet a-forgot
$GUEST meet the-end
cd /; umount -f -l /mnt/n
"#;

const SECOND: &str = r#"
not try lockf f 50 10
not try shared-lockf f 99 1
try lockf f 100 10
not try flock g 0 0
not try shared-flock g 0 0
hold given-up lockf f 0 10 & given_up=$!
$GUEST meet b-waits-in-vain
kill $given_up; wait $given_up || true
hold range lockf f 0 200 & range=$!
hold whole flock g 0 0 & whole=$!
$GUEST meet b-waits
held range $range; held whole $whole
$GUEST meet b-holds
release range $range; release whole $whole
$GUEST meet b-released
$GUEST meet b-tries
not try lockf f 0 1
try lockf f 100 1
$GUEST meet b-tried
$GUEST meet b-tries-again
try lockf f 0 1
$GUEST meet b-tried-again
$GUEST meet b-tries-a-last-time
until try lockf f 0 1; do sleep 0.2; done
$GUEST meet b-got-it
cd /; umount /mnt/n
"#;

/// Two clients that exclude each other, wait and are called back; locks that outlive the server;
/// locks that a client's restart frees.
#[test]
fn kernel_locks() {
    if !net::is_own("locks::kernel_locks") {
        return;
    }
    let dir = tempfile::tempdir().expect("folder");
    let mut server = Server::public(dir.path(), vec![Share::export()]);
    let mut a = Vm::boot_here(&server, 2, &format!("{PRELUDE}{FIRST}"));
    a.meet("a-holds", || {});
    let mut b = Vm::boot_here(&server, 3, &format!("{PRELUDE}{SECOND}"));
    b.meet("b-waits-in-vain", || wait_for_waits(&server, 1));
    // The wait that was given up has gone, and two more have come.
    b.meet("b-waits", || wait_for_waits(&server, 2));
    assert!(server.metric("dittofs_locks_held") >= 2.0);
    a.meet("a-releases", || {});
    b.meet("b-holds", || {});
    let told = "told that its wait is over client=10.0.3.15 answer=Some(Granted)";
    assert!(server.log_text().matches(told).count() >= 2, "the server called back");
    a.meet("a-released", || {});
    b.meet("b-released", || {});
    a.meet("a-holds-again", || {
        server.kill9();
        server.start();
    });
    // B is held back until the grace is over; by then A has what it had.
    b.meet("b-tries", || {});
    b.meet("b-tried", || {});
    assert!(server.log_text().contains("new locks are granted again"));
    a.meet("a-is-restarted", || {});
    a.meet("a-released-again", || {
        b.meet("b-tries-again", || {});
        b.meet("b-tried-again", || {});
    });
    a.meet("a-holds-a-last-time", || {});
    a.meet("a-forgot", || {});
    b.meet("b-tries-a-last-time", || {});
    b.meet("b-got-it", || {});
    a.meet("the-end", || {});
    b.finish();
    a.finish();
    server.assert_alive();
}

/// Until so many locks are waited for at the server.
fn wait_for_waits(server: &Server, count: usize) {
    for _ in 0..1200 {
        if server.metric("dittofs_locks_waiting") == count as f64 {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("not {count} waits, but {}", server.metric("dittofs_locks_waiting"));
}
