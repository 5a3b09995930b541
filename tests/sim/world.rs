//! A world: several lives of a server on one disk, with clients, and the checks between them.

use std::{
    cell::Cell,
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use blocks::BlockKey;
use meta::{Rest, command::Command};
use payload::Place;
use reactor::{
    oneshot,
    rng::random_u64,
    sim::{self, Event, Image, Lines, Moment, World as Sim},
};
use tests::rng::Rng;
use vocab::{BlockHash, PackId, Packed, Time};

use crate::{
    client::{After, Client, Down},
    machine::{Layout, Machine},
    store::{Mood, Moody},
};

/// Lives of a world that may end in the middle; one more follows, in peace.
const LIVES: usize = 4;
/// How long a world takes at most to come to rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// A bug that is planted, to see that worlds find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// None.
    Nothing,
    /// One sync of each life makes nothing safe.
    SkippedSync,
    /// One write of each life, of a batch of records, is not made.
    DroppedRecord,
    /// Objects are deleted before the writer of the counts has agreed.
    EarlyFree,
    /// It is asked after an object was deleted: only a dedup hit in between is harmed.
    UnaskedFree,
}

/// What happened, to the bit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Story {
    /// The trace of each life.
    pub(crate) traces: Vec<Vec<(Duration, Event)>>,
    /// What its disk held at last.
    pub(crate) files: Vec<(PathBuf, Vec<u8>)>,
    /// What its content stores held at last.
    pub(crate) objects: Vec<BlockHash>,
    /// Lives that ended by themselves.
    pub(crate) ended: usize,
    /// Lives whose clients had found everything before the end.
    pub(crate) checked: usize,
    /// Calls that were sent more than once.
    pub(crate) repeated: usize,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    PowerCut,
    Kill,
    /// In order.
    Stop,
    /// The disk is gone, and all shares are `remote`.
    SiteLoss,
}

type Slot = Rc<Cell<Option<Client>>>;

/// A client at work; it comes back to its place also when its task is cut.
struct Loan {
    client: Option<Client>,
    slot: Slot,
}

impl Loan {
    fn take(slot: &Slot) -> Self {
        Self { client: slot.take(), slot: slot.clone() }
    }
}

impl Deref for Loan {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("until it is dropped")
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().expect("until it is dropped")
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.hang_up();
        self.slot.set(self.client.take());
    }
}

/// What a life is to be.
#[derive(Clone, Copy, Debug)]
struct Life {
    seed: u64,
    /// After which end of the one before.
    after: After,
    end: End,
    steps: usize,
    mood: Mood,
    lines: Lines,
    plant: Plant,
    fault: Option<Fault>,
    /// Nothing goes wrong any more.
    is_last: bool,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Sync,
    Write,
}

/// Runs a world to its end.
///
/// # Panics
/// When something was lost or invented.
pub(crate) fn run(seed: u64, plant: Plant) -> Story {
    let mut rng = Rng::new(seed ^ 0x51_6d);
    let layout = Layout::new(&mut rng);
    let count = 1 + rng.below(4);
    let clients = (0..count).map(|number| {
        let own = Rng::new(rng.number());
        Rc::new(Cell::new(Some(Client::new(number, number % layout.shares, own))))
    });
    let clients: Vec<Slot> = clients.collect();
    let (mut image, mut after) = (Image::default(), After::Peace);
    let mut story = Story::default();
    for number in 0..=LIVES {
        let life = Life::new(&mut rng, plant, after, &layout, number == LIVES);
        let checked = Rc::new(Cell::new(false));
        let sim = Sim::open(life.seed, image);
        let ended = sim.run(lived(life, layout.clone(), clients.clone(), checked.clone()));
        story.ended += usize::from(ended.is_some());
        story.checked += usize::from(checked.get());
        story.traces.push(sim.trace());
        let then = match life.end {
            End::Kill if life.fault.is_none() => After::Kill,
            End::Stop if life.fault.is_none() => After::Peace,
            End::PowerCut | End::Kill | End::Stop => After::PowerCut,
            End::SiteLoss => After::SiteLoss,
        };
        // What the life before had lost, nobody may have seen yet.
        after = if checked.get() { then } else { then.max(after) };
        image = match life.end {
            End::PowerCut | End::SiteLoss => sim.power_cut(),
            End::Kill => sim.kill(),
            End::Stop => sim.shut_down(),
        };
        if after == After::SiteLoss {
            image.files().clear();
        }
    }
    let clients = clients.iter().filter_map(|slot| slot.take());
    story.repeated = clients.map(|client| client.repeated()).sum();
    let files = std::mem::take(image.files());
    story.files = files.into_iter().collect();
    story.objects = layout.stores.iter().flat_map(|store| store.objects()).collect();
    story
}

impl Life {
    fn new(rng: &mut Rng, plant: Plant, after: After, layout: &Layout, is_last: bool) -> Self {
        let end = match rng.below(10) {
            _ if is_last => End::Stop,
            0..=5 => End::PowerCut,
            6 | 7 => End::Kill,
            _ => End::Stop,
        };
        let end = match layout.is_remote && !is_last && rng.one_in(3) {
            true => End::SiteLoss,
            false => end,
        };
        let mood = Mood {
            delay_max: Duration::from_micros(*rng.pick(&[0, 500, 5_000, 30_000])),
            fails_one_in: *rng.pick(&[0, 0, 3, 12]),
            lies_one_in: *rng.pick(&[0, 0, 0, 10]),
        };
        let lines = Lines {
            delay_max: Duration::from_micros(*rng.pick(&[0, 200, 2_000, 20_000])),
            window_bytes: *rng.pick(&[700, 8 << 10, 256 << 10, 256 << 10]),
            cuts_short_one_in: *rng.pick(&[0, 0, 8, 2]),
            breaks_one_in: *rng.pick(&[0, 4, 2, 1]),
            news_max: Duration::from_micros(*rng.pick(&[0, 5_000, 300_000])),
        };
        let fault = match rng.below(16) {
            // A commit on a `remote` share waits for ever when the metadata store's disk failed.
            _ if is_last || layout.is_remote => None,
            0 => Some(Fault::Sync),
            1 => Some(Fault::Write),
            _ => None,
        };
        // What a failed sync should have made safe is still shown to a process that starts again
        // before the machine does, and the LSM would go on behind it.
        let end = match (fault, end) {
            (Some(Fault::Sync), End::Kill | End::Stop) => End::PowerCut,
            _ => end,
        };
        Self {
            seed: rng.number(),
            after,
            end,
            steps: 1 + rng.below(30),
            mood: if is_last { Mood::default() } else { mood },
            lines: if is_last { Lines::default() } else { lines },
            plant,
            fault,
            is_last,
        }
    }
}

async fn lived(life: Life, layout: Layout, clients: Vec<Slot>, checked: Rc<Cell<bool>>) {
    let mut rng = Rng::new(random_u64());
    if life.end != End::Stop {
        let moment = if rng.one_in(2) {
            Moment::Polls(1 + rng.number() % 4000)
        } else {
            Moment::Syncs(1 + rng.number() % 160)
        };
        sim::cut_power_at(moment);
    }
    let is_lost = life.after == After::SiteLoss;
    // A rebuild that failed is tried again by whoever began it.
    let mood = if is_lost { Mood::default() } else { life.mood };
    layout.stores.iter().for_each(|store| store.set(Mood { lies_one_in: 0, ..mood }));
    sim::set_lines(life.lines);
    let machine = match Machine::start(&layout, &mut rng, is_lost).await {
        Ok(machine) => machine,
        Err(why) => panic!("it does not start: {why}"),
    };
    let down = all(&machine, &clients, move |mut client, machine| async move {
        client.come(&machine, life.after).await
    });
    if down.await {
        return;
    }
    checked.set(true);
    layout.stores.iter().for_each(|store| store.set(life.mood));
    misbehave(life, &mut rng);
    reactor::spawn(upkeep(machine.clone(), layout.clone(), life, rng.number()));
    let steps = if life.is_last { 0 } else { life.steps };
    let down = all(&machine, &clients, move |mut client, machine| async move {
        for _ in 0..steps {
            client.step(&machine).await?;
        }
        Ok(())
    });
    let down = down.await;
    if life.is_last {
        rest(&machine, &clients, layout.is_remote).await;
    } else if rng.one_in(2) {
        reactor::sleep(Duration::from_micros(rng.number() % 150_000)).await;
    }
    if life.end == End::Stop && !down {
        layout.stores.iter().for_each(|store| store.set(Mood::default()));
        machine.stop().await;
    } else {
        sim::cut_power();
        reactor::sleep(Duration::from_secs(1)).await;
    }
}

/// Has all clients do something at once; whether one of them found the server down.
async fn all<F>(
    machine: &Machine,
    clients: &[Slot],
    work: impl Fn(Loan, Machine) -> F + Clone + 'static,
) -> bool
where
    F: Future<Output = Result<(), Down>> + 'static,
{
    let mut running = Vec::new();
    for slot in clients {
        let (sender, done) = oneshot::channel();
        let (loan, machine, work) = (Loan::take(slot), machine.clone(), work.clone());
        reactor::spawn(async move { sender.send(work(loan, machine).await) });
        running.push(done);
    }
    let mut is_down = false;
    for done in running {
        is_down |= !matches!(done.await, Ok(Ok(())));
    }
    is_down
}

/// What goes wrong once in a life, some time.
fn misbehave(life: Life, rng: &mut Rng) {
    let when = Duration::from_micros(rng.number() % 60_000);
    reactor::spawn(async move {
        reactor::sleep(when).await;
        sim::faults(|faults| {
            match life.fault {
                Some(Fault::Sync) => faults.syncs = 1,
                Some(Fault::Write) => faults.writes = 1,
                None => {}
            }
            match life.plant {
                Plant::SkippedSync => faults.lying_syncs = 1,
                Plant::DroppedRecord => faults.lost_writes = 1,
                Plant::EarlyFree | Plant::UnaskedFree | Plant::Nothing => {}
            }
        });
    });
}

/// What goes on beside the clients: the cache is dropped, garbage collected.
async fn upkeep(machine: Machine, layout: Layout, life: Life, seed: u64) {
    let mut rng = Rng::new(seed);
    loop {
        // On a `remote` share much waits for the store, so that a life is longer.
        let pause = if layout.is_remote { 200_000 } else { 20_000 };
        reactor::sleep(Duration::from_micros(rng.number() % pause)).await;
        match life.plant {
            Plant::EarlyFree => free_early(&machine, &layout).await,
            // What a checkpoint names would be lost too, and that shows without a race.
            Plant::UnaskedFree if layout.is_remote => {}
            Plant::UnaskedFree => free_unasked(&machine, &layout).await,
            Plant::SkippedSync | Plant::DroppedRecord | Plant::Nothing => {}
        }
        if layout.is_remote && rng.one_in(10) {
            checkpoint(&machine).await;
        }
        match rng.below(5) {
            0 => drop(machine.gc(Duration::from_millis(rng.number() % 40)).await),
            1 | 2 => drop(machine.payload.drain_here(Duration::from_millis(50)).await),
            _ => machine.payload.drop_clean_here().await,
        }
    }
}

/// A whole checkpoint takes over, beside the deltas.
async fn checkpoint(machine: &Machine) {
    let mut events = machine.payload.checkpoint();
    while events.recv().await.is_some() {}
}

/// The planted collector: it asks nobody before it deletes, not even who else is in the pack.
async fn free_early(machine: &Machine, layout: &Layout) {
    for (place, store) in machine.places.iter().zip(&layout.stores) {
        let end = Time { seconds: i64::MAX, nanos: 0 };
        let condemned = place.meta.condemned(&place.content_name, end, 100).await;
        for hash in condemned.unwrap_or_default() {
            store.lose(&BlockKey::block(place.meta.id(), hash)).await;
            let counted = place.meta.count_of(&place.content_name, hash).await.ok().flatten();
            let packed = counted.and_then(|counted| counted.rests.packed());
            let pack = packed.map_or(PackId(hash), |packed| packed.pack);
            store.lose(&BlockKey::pack(place.meta.id(), pack)).await;
        }
    }
}

/// The planted collector that does all in order, but for one thing: it asks the writer of the
/// counts when the object is gone. What is referred to anew meanwhile is lost, and nothing else.
async fn free_unasked(machine: &Machine, layout: &Layout) {
    for (place, store) in machine.places.iter().zip(&layout.stores) {
        let (meta, content) = (&place.meta, &place.content_name);
        let end = Time { seconds: i64::MAX, nanos: 0 };
        let mut packs: BTreeMap<PackId, (u64, Vec<BlockHash>)> = BTreeMap::new();
        for hash in meta.condemned(content, end, 100).await.unwrap_or_default() {
            let Ok(Some(counted)) = meta.count_of(content, hash).await else { continue };
            match counted.rests {
                Rest::Own => {
                    let key = BlockKey::block(meta.id(), hash);
                    free_one(place, store, key, vec![hash]).await;
                }
                Rest::Packed(Packed { pack, bytes, .. }) => {
                    let (sum, hashes) = packs.entry(pack).or_default();
                    *sum += u64::from(bytes);
                    hashes.push(hash);
                }
                Rest::Pack { .. } => {}
            }
        }
        for (pack, (sum, hashes)) in packs {
            // All that rests in it is condemned.
            let counted = meta.count_of(content, pack.0).await.ok().flatten();
            let is_all = |rests| matches!(rests, Rest::Pack { bytes } if bytes == sum);
            if counted.is_some_and(|counted| is_all(counted.rests)) {
                free_one(place, store, BlockKey::pack(meta.id(), pack), hashes).await;
            }
        }
    }
}

async fn free_one(place: &Place, store: &Moody, key: BlockKey, hashes: Vec<BlockHash>) {
    reactor::sleep(Duration::from_micros(random_u64() % 5000)).await;
    store.lose(&key).await;
    let content = || place.content_name.to_string();
    let begin = Command::DeleteBegin { content: content(), hashes: hashes.clone() };
    let begun = place.meta.submit(begin).await;
    let ended = place.meta.submit(Command::DeleteEnd { content: content(), hashes }).await;
    // A life may end here.
    drop((begun, ended));
}

/// Everything comes to rest: all is found in the content stores too, and nothing else is there.
async fn rest(machine: &Machine, clients: &[Slot], is_remote: bool) {
    machine.payload.drain_here(PATIENCE).await.expect("the stores are well");
    machine.payload.drop_clean_here().await;
    let down = all(machine, clients, |mut client, machine| async move {
        client.compare_all(&machine, After::Peace, None).await
    });
    assert!(!down.await, "the disk is well");
    machine.payload.drain_here(PATIENCE).await.expect("the stores are well");
    let patience = reactor::clock::monotonic() + PATIENCE;
    for place in &machine.places {
        while !place.meta.orphans(1).await.expect("reads").is_empty() {
            assert!(reactor::clock::monotonic() < patience, "orphans stay");
            reactor::sleep(Duration::from_millis(20)).await;
        }
    }
    loop {
        if is_remote {
            // What the last checkpoint names is kept.
            checkpoint(machine).await;
        }
        let rounds = machine.gc(Duration::ZERO).await;
        let is_clean = rounds.iter().all(|(_, round)| {
            let report = round.as_ref().expect("the stores are well");
            report.live == report.seen
        });
        if is_clean {
            break;
        }
        assert!(reactor::clock::monotonic() < patience, "garbage stays: {rounds:?}");
        reactor::sleep(Duration::from_millis(20)).await;
    }
    for place in &machine.places {
        let checked = place.meta.check().await.expect("reads");
        assert_eq!(checked.findings, [], "{}", place.meta.name());
    }
}
