//! Which dirty blocks are due, in which order, and how many uploads each content store gets.
//!
//! Invariants: `age` has every dirty block and every mark of the slice, and nothing else: when it
//! is empty, everything rests in the content stores. Each operation is cheap, whatever is queued:
//! the delays are constants, so the queues that wait for a time are in order of it by themselves.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use vocab::{BlockIndex, FileId, Sequence};

/// A full block is uploaded once it rests this long: nobody overwrites it just now.
const FILLED_REST: Duration = Duration::from_millis(250);
/// A mark waits this long for more of its kind.
const MARK_REST: Duration = Duration::from_secs(1);
/// A block that cannot go, while others can, is tried again after this long.
const STUCK_REST: Duration = Duration::from_secs(10);
/// What the uploads of one slice to one content store may weigh at a time: 16 whole blocks, or as
/// many small ones as fill two packs.
const LOAD_MAX: u32 = 16 * LOAD_WHOLE;
/// What a block weighs, and one that is put together with others.
pub(crate) const LOAD_WHOLE: u32 = 128;
pub(crate) const LOAD_SMALL: u32 = 1;
/// A store that is away is asked again after this long at first.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// And after this long at most.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How finely the log's course is remembered.
const COURSE_STEP: u64 = 1024 * 1024;
/// Stands for a mark where a block's index is expected.
const MARK: BlockIndex = BlockIndex(u32::MAX);

/// A dirty block.
pub(crate) type Block = (FileId, BlockIndex);

/// The queues of a slice.
#[derive(Debug)]
pub(crate) struct Queue {
    settle: Duration,
    age: BTreeMap<(Sequence, BlockIndex), FileId>,
    resting: VecDeque<(Duration, Block)>,
    filled: VecDeque<(Duration, Block)>,
    marked: VecDeque<(Duration, FileId)>,
    stuck: VecDeque<(Duration, Block)>,
    /// The blocks in `stuck`.
    asleep: BTreeSet<Block>,
    lanes: BTreeMap<Arc<str>, Lane>,
    /// Bytes appended, and how many there were at some records.
    appended: u64,
    course: VecDeque<(Sequence, u64)>,
    /// Writers that wait for room in the log.
    pub(crate) writers_waiting: u32,
    /// Callers that wait until nothing is dirty.
    pub(crate) drains: u32,
}

/// A place in a lane, which must be given back.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) lane: Arc<str>,
    load: u32,
}

/// The uploads to one content store.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    ready: VecDeque<Block>,
    jobs: u32,
    load: u32,
    /// Rounds of failures since the last success.
    failures: u32,
    retry_at: Duration,
}

/// How far to go beyond what is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// Only what is due.
    None,
    /// Also what is older than this.
    Older(Sequence),
    /// Everything.
    All,
}

impl Queue {
    pub(crate) fn new(settle: Duration) -> Self {
        Self {
            settle,
            age: BTreeMap::new(),
            resting: VecDeque::new(),
            filled: VecDeque::new(),
            marked: VecDeque::new(),
            stuck: VecDeque::new(),
            asleep: BTreeSet::new(),
            lanes: BTreeMap::new(),
            appended: 0,
            course: VecDeque::new(),
            writers_waiting: 0,
            drains: 0,
        }
    }

    // What is dirty.

    /// A block became dirty, or its oldest range is this one now.
    pub(crate) fn born(&mut self, born: Sequence, id: FileId, index: BlockIndex, now: Duration) {
        let known = self.age.insert((born, index), id);
        assert!(known.is_none(), "a record makes a block dirty once");
        self.resting.push_back((now + self.settle, (id, index)));
    }

    /// All of a block became dirty.
    pub(crate) fn filled(&mut self, id: FileId, index: BlockIndex, now: Duration) {
        self.filled.push_back((now + FILLED_REST.min(self.settle), (id, index)));
    }

    /// A block is dirty no more, or its age changed.
    pub(crate) fn remove(&mut self, born: Sequence, index: BlockIndex) {
        assert!(self.age.remove(&(born, index)).is_some(), "it was born");
    }

    /// A file has a new mark.
    pub(crate) fn mark(&mut self, sequence: Sequence, id: FileId, now: Duration) {
        self.age.insert((sequence, MARK), id);
        self.mark_again(id, now);
    }

    /// A file's marks are to be looked at later.
    pub(crate) fn mark_again(&mut self, id: FileId, now: Duration) {
        self.marked.push_back((now + MARK_REST.min(self.settle), id));
    }

    pub(crate) fn remove_mark(&mut self, sequence: Sequence) {
        assert!(self.age.remove(&(sequence, MARK)).is_some(), "it was marked");
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.age.is_empty()
    }

    // What an operator sees.

    /// Dirty blocks and marks.
    pub(crate) fn len(&self) -> u64 {
        self.age.len() as u64
    }

    /// Uploads under way.
    pub(crate) fn jobs(&self) -> u64 {
        self.lanes.values().map(|lane| u64::from(lane.jobs)).sum()
    }

    /// The content stores that were asked so far, and whether each of them answered last time.
    pub(crate) fn stores(&self) -> Vec<(Arc<str>, bool)> {
        let shown = |(name, lane): (&Arc<str>, &Lane)| (Arc::clone(name), lane.failures == 0);
        self.lanes.iter().map(shown).collect()
    }

    // What is due.

    /// Takes the blocks that have rested. `written`: when a block was last written, if it is dirty.
    pub(crate) fn take_rested(
        &mut self,
        now: Duration,
        written: impl Fn(&Block) -> Option<Duration>,
    ) -> Vec<Block> {
        let mut due = Vec::new();
        let filled_rest = FILLED_REST.min(self.settle);
        for (queue, rest) in [(&mut self.resting, self.settle), (&mut self.filled, filled_rest)] {
            while let Some((_, block)) = queue.pop_front_if(|(at, _)| *at <= now) {
                match written(&block) {
                    Some(written) if written + rest > now => {
                        queue.push_back((written + rest, block));
                    }
                    Some(_) => due.push(block),
                    None => {}
                }
            }
        }
        while let Some((_, block)) = self.stuck.pop_front_if(|(at, _)| *at <= now) {
            self.asleep.remove(&block);
            due.push(block);
        }
        due
    }

    /// Takes the files whose marks have rested.
    pub(crate) fn take_marked(&mut self, now: Duration) -> Vec<FileId> {
        let mut due = Vec::new();
        while let Some((_, id)) = self.marked.pop_front_if(|(at, _)| *at <= now) {
            due.push(id);
        }
        due
    }

    /// Has a block uploaded as soon as its lane has room.
    pub(crate) fn ready(&mut self, lane: &Arc<str>, block: Block) {
        self.lane(lane).ready.push_back(block);
    }

    /// The oldest dirty blocks (`Ok`) and files with marks (`Err`), at most `max`.
    pub(crate) fn oldest(&self, pressure: Pressure, max: usize) -> Vec<Result<Block, FileId>> {
        let end = match pressure {
            Pressure::None => return Vec::new(),
            Pressure::Older(end) => end,
            Pressure::All => Sequence(u64::MAX),
        };
        let oldest = self.age.range(..(end, BlockIndex(0))).take(max);
        let kind = |(&(_, index), &id): (&(Sequence, BlockIndex), &FileId)| {
            if index == MARK { Err(id) } else { Ok((id, index)) }
        };
        oldest.map(kind).collect()
    }

    /// How full the log is, as the uploads should see it.
    pub(crate) fn pressure(&self, bytes_live: u64, bytes_max: u64) -> Pressure {
        if self.drains > 0 || self.writers_waiting > 0 || bytes_live >= bytes_max / 4 * 3 {
            return Pressure::All;
        }
        if bytes_live < bytes_max / 2 {
            return Pressure::None;
        }
        // A block that is still being appended to would be uploaded again and again: leave the
        // youngest quarter of the log alone.
        let old = self.appended.saturating_sub(bytes_max / 4);
        let at = self.course.partition_point(|(_, appended)| *appended <= old);
        at.checked_sub(1).map_or(Pressure::None, |at| Pressure::Older(self.course[at].0))
    }

    /// A record took its place in the log.
    pub(crate) fn appended(&mut self, sequence: Sequence, bytes: u64, bytes_max: u64) {
        self.appended += bytes;
        if self.course.back().is_none_or(|(_, at)| at + COURSE_STEP <= self.appended) {
            self.course.push_back((sequence, self.appended));
            let gone = self.appended.saturating_sub(bytes_max);
            while self.course.front().is_some_and(|(_, at)| *at < gone) {
                self.course.pop_front();
            }
        }
    }

    // Lanes.

    fn lane(&mut self, name: &Arc<str>) -> &mut Lane {
        self.lanes.entry(Arc::clone(name)).or_default()
    }

    /// Takes a place in a lane for a block, unless the lane is full or its store away, or the block
    /// asleep.
    pub(crate) fn start(
        &mut self,
        name: &Arc<str>,
        block: &Block,
        load: u32,
        now: Duration,
    ) -> Option<Seat> {
        if self.asleep.contains(block) {
            return None;
        }
        let lane = self.lane(name);
        lane.has_room(now).then(|| lane.take(name, load))
    }

    /// Takes ready blocks of all lanes that have room, and their places. `load`: of a block.
    pub(crate) fn start_ready(
        &mut self,
        now: Duration,
        load: impl Fn(&Block) -> u32,
    ) -> Vec<(Block, Seat)> {
        let mut started = Vec::new();
        for (name, lane) in &mut self.lanes {
            while lane.has_room(now) {
                let Some(block) = lane.ready.pop_front() else { break };
                started.push((block, lane.take(name, load(&block))));
            }
        }
        started
    }

    /// Gives a place back. The store is fine.
    pub(crate) fn succeeded(&mut self, seat: &Seat) {
        let lane = self.lane(&seat.lane);
        // With the count goes the time, else a failure before that time would not be counted.
        (lane.failures, lane.retry_at) = (0, Duration::ZERO);
        self.left(seat);
    }

    /// Gives a place back; nothing is known of the store.
    pub(crate) fn left(&mut self, seat: &Seat) {
        let lane = self.lane(&seat.lane);
        lane.jobs = lane.jobs.checked_sub(1).expect("it took a place");
        lane.load = lane.load.checked_sub(seat.load).expect("it weighed as much");
    }

    /// Gives a place back. The store is away: the block waits with the others until it is asked
    /// again. Whether this is the first failure after a success.
    pub(crate) fn failed(&mut self, seat: &Seat, block: Block, now: Duration, luck: u64) -> bool {
        self.left(seat);
        let lane = self.lane(&seat.lane);
        lane.ready.push_front(block);
        if now < lane.retry_at {
            return false;
        }
        lane.failures += 1;
        let delay = BACKOFF_MIN * (1 << (lane.failures - 1).min(10));
        let delay = delay.min(BACKOFF_MAX);
        // Half of it is luck, so that many servers do not come back at the same moment.
        lane.retry_at = now + delay / 2 + delay.mul_f64(luck as f64 / u64::MAX as f64) / 2;
        lane.failures == 1
    }

    /// Puts a block aside for a while.
    pub(crate) fn sleep(&mut self, block: Block, now: Duration) {
        self.asleep.insert(block);
        self.stuck.push_back((now + STUCK_REST, block));
    }

    /// Asks stores that were away at once.
    pub(crate) fn retry_now(&mut self) {
        self.lanes.values_mut().for_each(|lane| lane.retry_at = Duration::ZERO);
    }
}

impl Lane {
    /// A store that failed is asked with one block at a time.
    fn has_room(&self, now: Duration) -> bool {
        if self.failures == 0 {
            self.load < LOAD_MAX
        } else {
            self.jobs == 0 && now >= self.retry_at
        }
    }

    fn take(&mut self, name: &Arc<str>, load: u32) -> Seat {
        self.jobs += 1;
        self.load += load;
        Seat { lane: Arc::clone(name), load }
    }
}

#[cfg(test)]
mod tests {
    use vocab::{InodeId, StoreId};

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn block(n: u32) -> Block {
        (FileId { store: StoreId(1), inode: InodeId(1) }, BlockIndex(n))
    }

    fn queue() -> Queue {
        Queue::new(10 * S)
    }

    #[test]
    fn a_block_rests_from_its_last_write() {
        let mut queue = queue();
        queue.born(Sequence(1), block(0).0, block(0).1, Duration::ZERO);
        assert_eq!(queue.take_rested(9 * S, |_| Some(Duration::ZERO)), []);
        assert_eq!(queue.take_rested(10 * S, |_| Some(5 * S)), []);
        assert_eq!(queue.take_rested(15 * S, |_| Some(5 * S)), [block(0)]);
        assert_eq!(queue.take_rested(99 * S, |_| Some(5 * S)), []);
    }

    #[test]
    fn a_full_block_does_not_wait_to_settle() {
        let mut queue = queue();
        queue.filled(block(0).0, block(0).1, Duration::ZERO);
        assert_eq!(queue.take_rested(S, |_| Some(Duration::ZERO)), [block(0)]);
    }

    #[test]
    fn a_failure_soon_after_a_success_is_waited_for_too() {
        let (mut queue, name) = (queue(), Arc::from("s3"));
        let start = |queue: &mut Queue, n| queue.start(&name, &block(n), LOAD_WHOLE, S);
        let first = start(&mut queue, 1).expect("room");
        let second = start(&mut queue, 2).expect("room");
        queue.failed(&first, block(1), S, 0);
        // One that was under way arrives.
        queue.succeeded(&second);
        let third = start(&mut queue, 3).expect("room");
        queue.failed(&third, block(3), S, 0);
        assert!(start(&mut queue, 3).is_none(), "asked again at once, and again");
    }

    #[test]
    fn a_store_that_is_away_is_asked_with_one_block_and_less_and_less_often() {
        let (mut queue, name) = (queue(), Arc::from("s3"));
        for n in 0..20 {
            queue.ready(&name, block(n));
        }
        let ready = |queue: &mut Queue, now| -> Vec<Seat> {
            queue.start_ready(now, |_| LOAD_WHOLE).into_iter().map(|(_, seat)| seat).collect()
        };
        let seats = ready(&mut queue, S);
        assert_eq!(seats.len(), 16);
        assert!(queue.failed(&seats[0], block(0), S, u64::MAX));
        for (n, seat) in (1..16).zip(&seats[1..]) {
            assert!(!queue.failed(seat, block(n), S, u64::MAX), "one round is one failure");
        }
        assert_eq!(ready(&mut queue, S).len(), 0);
        let seats = ready(&mut queue, 2 * S);
        assert_eq!(seats.len(), 1);
        let second = queue.start(&name, &block(5), LOAD_WHOLE, 2 * S);
        assert!(second.is_none(), "one at a time");
        queue.failed(&seats[0], block(0), 2 * S, 0);
        assert_eq!(ready(&mut queue, 2 * S + BACKOFF_MIN / 2).len(), 0);
        let seats = ready(&mut queue, 2 * S + BACKOFF_MIN);
        assert_eq!(seats.len(), 1);
        queue.succeeded(&seats[0]);
        assert_eq!(ready(&mut queue, 3 * S).len(), 16);
    }

    #[test]
    fn as_many_small_blocks_go_as_fill_packs() {
        let (mut queue, name) = (queue(), Arc::from("s3"));
        for n in 0..5000 {
            queue.ready(&name, block(n));
        }
        let seats = queue.start_ready(S, |_| LOAD_SMALL);
        assert_eq!(seats.len(), 2048);
        assert_eq!(queue.start_ready(S, |_| LOAD_SMALL).len(), 0);
        seats.iter().for_each(|(_, seat)| queue.left(seat));
        assert_eq!((queue.jobs(), queue.start_ready(S, |_| LOAD_WHOLE).len()), (0, 16));
    }

    #[test]
    fn pressure_takes_the_oldest_and_leaves_the_youngest_quarter() {
        let mut queue = queue();
        let max = 64 * COURSE_STEP;
        for n in 1..=64 {
            queue.appended(Sequence(n), COURSE_STEP, max);
            queue.born(
                Sequence(n),
                block(0).0,
                BlockIndex(u32::try_from(n).unwrap()),
                Duration::ZERO,
            );
        }
        assert_eq!(queue.pressure(max / 2 - 1, max), Pressure::None);
        let older = queue.pressure(max / 2, max);
        assert_eq!(older, Pressure::Older(Sequence(48)));
        assert_eq!(queue.oldest(older, 1000).len(), 47);
        assert_eq!(queue.oldest(older, 1), [Ok(block(1))]);
        queue.writers_waiting = 1;
        assert_eq!(queue.pressure(0, max), Pressure::All);
        assert_eq!(queue.oldest(Pressure::All, 1000).len(), 64);
    }

    #[test]
    fn a_stuck_block_sleeps_even_under_pressure() {
        let (mut queue, name) = (queue(), Arc::from("s3"));
        queue.sleep(block(0), Duration::ZERO);
        assert!(queue.start(&name, &block(0), LOAD_WHOLE, S).is_none());
        assert_eq!(queue.take_rested(10 * S, |_| None), [block(0)]);
        assert!(queue.start(&name, &block(0), LOAD_WHOLE, 10 * S).is_some());
    }
}
