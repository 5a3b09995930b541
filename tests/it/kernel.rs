//! The share through a real Linux client kernel over NFSv3.

use tests::{
    client::Client,
    s3::S3,
    server::{Content, Server, Share},
    tree::Tree,
    vm::Vm,
};

const TREE: &str = r#"
share /export /mnt/n
$GUEST copy "$LIST" /mnt/n/tree
$GUEST compare "$LIST" /mnt/n/tree
umount /mnt/n
share /export /mnt/n
$GUEST meet remounted
$GUEST compare "$LIST" /mnt/n/tree
$GUEST meet restart
$GUEST compare "$LIST" /mnt/n/tree
$GUEST meet drop-cache
$GUEST compare "$LIST" /mnt/n/tree
umount /mnt/n
"#;

/// 20,000 files and a GiB, found again after a remount, after a restart under the mount, and when
/// every block comes back from the content store.
#[test]
fn kernel_tree() {
    let dir = tempfile::tempdir().expect("folder");
    let tree = Tree::choose(dir.path(), 20_000, 1 << 30);
    assert!(tree.files >= 20_000 && tree.bytes >= 1 << 30, "{tree:?}");
    let mut server = Server::quickstart(&dir.path().join("data"));
    copy_and_compare(&mut server, &tree);
}

fn copy_and_compare(server: &mut Server, tree: &Tree) {
    let list = format!("LIST={}\n", tree.list.display());
    let mut vm = Vm::boot(server, &format!("{list}{TREE}"));
    vm.meet("remounted", || {});
    vm.meet("restart", || server.restart());
    let mut misses = 0.0;
    vm.meet("drop-cache", || misses = drop_cache(server));
    vm.finish();
    server.assert_alive();
    let fetched = server.metric("dittofs_cache_misses_total") - misses;
    assert!(fetched >= tree.files as f64 / 2.0, "{fetched} fetches from the content store");
}

/// Drops the cache and makes sure of it: nothing is dirty, and next to nothing cached.
fn drop_cache(server: &Server) -> f64 {
    server.drop_cache();
    assert_eq!(server.metric("dittofs_dirty_bytes"), 0.0, "all is in the content store");
    let cached = server.metric("dittofs_cache_bytes");
    assert!(cached < 1e6, "{cached} bytes are still cached");
    server.metric("dittofs_cache_misses_total")
}

/// What POSIX promises, operation by operation.
#[test]
fn kernel_posix() {
    let dir = tempfile::tempdir().expect("folder");
    let server = Server::quickstart(dir.path());
    Vm::boot(&server, "share /export /mnt/n\n$GUEST posix /mnt/n\numount /mnt/n\n").finish();
}

/// A directory of 50,000 names, listed while names come and go.
#[test]
fn kernel_readdir() {
    const NAMES: usize = 50_000;
    let dir = tempfile::tempdir().expect("folder");
    let server = Server::quickstart(dir.path());
    fill(&server, NAMES);
    let script = format!("share /export /mnt/n\n$GUEST readdir /mnt/n/many {NAMES}\n");
    Vm::boot(&server, &script).finish();
}

/// Makes `many`, with names that stay and names to remove, over several connections.
fn fill(server: &Server, names: usize) {
    let mut client = Client::mount(server, "/export").expect("mount");
    let root = client.root.clone();
    let many = client.mkdir(&root, b"many").expect("mkdir");
    let stay = (0..names).map(|n| format!("stay-{n:05}-{}", "x".repeat(n % 40)));
    let go = (0..3).flat_map(|pass| (0..100).map(move |n| format!("go-{pass}-{n}")));
    let names: Vec<String> = stay.chain(go).collect();
    std::thread::scope(|scope| {
        for part in names.chunks(names.len().div_ceil(8)) {
            let many = &many;
            scope.spawn(move || {
                let mut client = Client::mount(server, "/export").expect("mount");
                for name in part {
                    client.create_new(many, name.as_bytes()).expect("a new name");
                }
            });
        }
    });
}

/// Two shares on two pairs of stores: what one holds the other does not, and nothing moves across.
#[test]
fn kernel_two_shares() {
    let dir = tempfile::tempdir().expect("folder");
    let second = Share { name: "/second".into(), ..Share::export() };
    let mut server = Server::with_shares(dir.path(), vec![Share::export(), second]);
    two_shares(&mut server);
}

const TWO: &str = r#"
share /export /mnt/a
share /second /mnt/b
mkdir /mnt/a/two /mnt/b/two
cd /mnt/a/two
echo one > same; echo two > /mnt/b/two/same
head -c 9000000 /dev/urandom > large; cp large /mnt/b/two/larger
[ "$(ls /mnt/a/two)" = "$(printf 'large\nsame')" ]
[ "$(ls /mnt/b/two)" = "$(printf 'larger\nsame')" ]
$GUEST refused same /mnt/b/two/moved
sync; echo 3 > /proc/sys/vm/drop_caches
$GUEST meet restart
$GUEST meet drop-cache
echo 3 > /proc/sys/vm/drop_caches
[ "$(cat same)" = one ]; [ "$(cat /mnt/b/two/same)" = two ]
cmp large /mnt/b/two/larger
rm large
sync; echo 3 > /proc/sys/vm/drop_caches
[ "$(wc -c < /mnt/b/two/larger)" = 9000000 ]; cat /mnt/b/two/larger > /dev/null
cd /; umount /mnt/a /mnt/b
"#;

fn two_shares(server: &mut Server) {
    let mut vm = Vm::boot(server, TWO);
    vm.meet("restart", || server.restart());
    vm.meet("drop-cache", || server.drop_cache());
    vm.finish();
    server.assert_alive();
}

/// A tree, POSIX and two shares, with the blocks in a real S3 server.
#[test]
fn kernel_s3() {
    let s3 = S3::start();
    let dir = tempfile::tempdir().expect("folder");
    let share = |name: &str| Share {
        name: name.into(),
        content: Content::S3(s3.place()),
        ..Share::export()
    };
    let tree = Tree::choose(dir.path(), 2_000, 128 << 20);
    let data = dir.path().join("data");
    let mut server = Server::with_shares(&data, vec![share("/export"), share("/second")]);
    copy_and_compare(&mut server, &tree);
    Vm::boot(&server, "share /export /mnt/n\nmkdir /mnt/n/p\n$GUEST posix /mnt/n/p\n").finish();
    two_shares(&mut server);
}
