//! The single writer: takes what waits as one batch, commits and syncs once, publishes, answers.
//!
//! Invariants: nothing is answered before it is durable and visible. After a failed commit or sync
//! the store takes no more commands: what the disk holds is not known, and trying again proves
//! nothing.

use crossbeam::channel::Receiver;
use reactor::oneshot;
use vocab::{Attr, Error, FileKind, Time};

use crate::{
    command::{Command, Outcome},
    core::{Core, own},
    engine::{Batch, Fault, Space},
    key, machine,
    record::{Inode, NameEntry},
    tx::{Tx, io},
};

/// Most commands in a batch.
const BATCH_MAX: usize = 512;

/// What became of a command.
pub(crate) type Answer = Result<Outcome, Error>;

/// What the writer is sent.
pub(crate) enum Message {
    Submit(Command, oneshot::Sender<Answer>),
    /// Changes by a check: no command makes them.
    Repair(Batch, oneshot::Sender<Result<(), Error>>),
    /// Finish what waits, then end.
    Stop,
}

/// The writer's own state.
pub(crate) struct Writer<'a> {
    core: &'a Core,
    is_failed: bool,
}

/// The writer's thread.
pub(crate) fn run(core: &Core, messages: &Receiver<Message>) {
    let mut writer = Writer::new(core);
    while let Ok(first) = messages.recv() {
        if reactor::thread::wait(writer.serve(first, messages)) == Next::Stop {
            return;
        }
    }
}

/// Whether more is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    GoOn,
    Stop,
}

/// Commands that make a batch.
struct Gathered {
    commands: Vec<Command>,
    answers: Vec<oneshot::Sender<Answer>>,
    stop: bool,
    /// What came after them and is no command.
    left: Option<Message>,
}

fn gather(first: Message, messages: &Receiver<Message>) -> Gathered {
    let mut gathered =
        Gathered { commands: Vec::new(), answers: Vec::new(), stop: false, left: None };
    for message in std::iter::once(first).chain(messages.try_iter()) {
        match message {
            Message::Submit(command, answer) => {
                gathered.commands.push(command);
                gathered.answers.push(answer);
            }
            Message::Stop => gathered.stop = true,
            Message::Repair(..) => gathered.left = Some(message),
        }
        if gathered.stop || gathered.left.is_some() || gathered.commands.len() == BATCH_MAX {
            break;
        }
    }
    gathered
}

impl<'a> Writer<'a> {
    pub(crate) fn new(core: &'a Core) -> Self {
        Self { core, is_failed: false }
    }

    /// Does what a message asks for, together with what came after it.
    pub(crate) async fn serve(&mut self, first: Message, messages: &Receiver<Message>) -> Next {
        let mut is_stopping = false;
        let mut next = Some(first);
        // Once told to stop, everything that was sent before still counts.
        while let Some(message) = next.take() {
            if let Message::Repair(changes, to) = message {
                to.send(self.repair(&changes).await);
            } else {
                let gathered = gather(message, messages);
                is_stopping |= gathered.stop;
                next = gathered.left;
                let applied = self.apply(&gathered.commands).await;
                for (answer, to) in applied.into_iter().zip(gathered.answers) {
                    to.send(answer);
                }
            }
            if is_stopping && next.is_none() {
                next = messages.try_recv().ok();
            }
        }
        if is_stopping { Next::Stop } else { Next::GoOn }
    }

    /// Applies commands as one batch.
    pub(crate) async fn apply(&mut self, commands: &[Command]) -> Vec<Answer> {
        if self.is_failed {
            return commands.iter().map(|_| Err(Error::Io)).collect();
        }
        let (mut answers, batch, committed) = self.commit(commands);
        if batch.is_empty() {
            return answers;
        }
        let done = match committed {
            Ok(()) => self.core.engine.synced().await,
            failed => failed,
        };
        if let Err(fault) = done {
            io(fault);
            trace::error!(
                "the metadata store `{}` is read-only from here on: its last changes may not be on \
                 the disk; check the disk and restart",
                self.core.name
            );
            self.is_failed = true;
            return commands.iter().map(|_| Err(Error::Io)).collect();
        }
        self.publish(&batch);
        self.core.captures.lock().record(batch);
        for outcome in answers.iter_mut().flatten() {
            self.refresh(outcome);
        }
        answers
    }

    /// Applies and commits in one step, which no view of a capture or an export splits.
    fn commit(&self, commands: &[Command]) -> (Vec<Answer>, Batch, Result<(), Fault>) {
        let captures = self.core.captures.lock();
        let (answers, batch) = self.compute(commands, captures.let_go_from());
        let committed = match batch.is_empty() {
            true => Ok(()),
            false => self.core.engine.commit(&batch),
        };
        (answers, batch, committed)
    }

    fn compute(&self, commands: &[Command], let_go_from: Time) -> (Vec<Answer>, Batch) {
        let view = self.core.engine.view();
        let mut tx = Tx::new(&*view).let_go_from(let_go_from);
        let apply = |command| machine::apply(&mut tx, command);
        let answers = commands.iter().map(apply).collect();
        (answers, tx.into_batch())
    }

    /// Commits changes that nobody is shown: see [`crate::Store::repair`].
    async fn repair(&mut self, changes: &Batch) -> Result<(), Error> {
        if self.is_failed {
            return Err(Error::Io);
        }
        self.core.store(changes).await.map_err(io)
    }

    /// Shows a durable batch to the readers.
    fn publish(&self, batch: &Batch) {
        for (key, value) in batch.changes(Space::Inodes) {
            let inode: Option<Inode> = value.as_deref().map(own);
            match inode.filter(|inode| inode.stored.nlink > 0) {
                Some(inode) => self.core.table.publish(&inode),
                None => {
                    let id = key::inode_of(key).expect("a key that was just composed");
                    self.core.table.publish_gone(id);
                }
            }
        }
        for (key, value) in batch.changes(Space::Names) {
            let entry: Option<NameEntry> = value.as_deref().map(own);
            self.core.names.publish(key, entry.map(|entry| entry.inode));
        }
    }

    /// The engine may lag behind the log; a client must never be told of a shorter file.
    fn refresh(&self, outcome: &mut Outcome) {
        match outcome {
            Outcome::Created { attr, replayed: true, .. }
            | Outcome::Linked { attr, .. }
            | Outcome::Removed { attr, .. }
            | Outcome::Renamed { replaced: Some(attr), .. }
            | Outcome::Changed { attr, .. } => self.refresh_attr(attr),
            Outcome::Created { .. }
            | Outcome::Renamed { replaced: None, .. }
            | Outcome::Share(_)
            | Outcome::Done
            | Outcome::NeedPut
            | Outcome::Reaped { .. }
            | Outcome::Condemned(_)
            | Outcome::Deleting(_) => {}
        }
    }

    fn refresh_attr(&self, attr: &mut Attr) {
        if attr.kind != FileKind::Regular {
            return;
        }
        if let Some(Attr { size, used, mtime, ctime, change, .. }) =
            self.core.table.peek(attr.inode)
        {
            *attr = Attr { size, used, mtime, ctime, change, ..*attr };
        }
    }
}
