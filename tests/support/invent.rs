//! Random changes of a share that make sense for its model.

use super::{
    model::{Change, Kind, Model, Node, Reach},
    rng::Rng,
};

const NODES_MAX: usize = 40;

/// How large things become.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Most bytes of six writes of ten, of three, and of the last.
    pub write_bytes_max: [usize; 3],
    /// Most bytes that a write leaves out behind the end.
    pub hole_bytes_max: usize,
    /// No file is longer.
    pub file_bytes_max: usize,
    /// What lies across this offset is worth a try.
    pub edge: Option<usize>,
}

/// Thinks of changes.
#[derive(Debug)]
pub struct Inventor<'a> {
    /// Decides.
    pub rng: &'a mut Rng,
    /// What there is.
    pub model: &'a Model,
    /// What names begin with.
    pub prefix: &'a str,
    /// How large.
    pub sizes: &'a Sizes,
}

impl Inventor<'_> {
    /// Any change; some of them must be refused.
    ///
    /// # Panics
    /// When the model has no directory.
    pub fn change(&mut self) -> Change {
        let file = self.pick(|kind| matches!(kind, Kind::File(_)));
        let dir = self.pick(|kind| matches!(kind, Kind::Dir(_))).expect("two at least");
        let is_full = self.model.nodes().count() >= NODES_MAX;
        match (self.rng.below(20), file) {
            (0..=7, Some(file)) => self.write(file),
            (8, Some(file)) => Change::Commit { file },
            (9, Some(file)) => {
                let size = self.model.size(file);
                let size = self.rng.below(size + size / 4 + 100).min(self.sizes.file_bytes_max);
                Change::Truncate { file, size }
            }
            (10, Some(node)) => Change::Link { node, dir, name: self.name(dir) },
            (11, _) => {
                let node = self.pick(|_| true).expect("two at least");
                Change::Link { node, dir, name: self.name(dir) }
            }
            (12 | 13, _) => {
                let to = self.pick(|kind| matches!(kind, Kind::Dir(_))).expect("two at least");
                Change::Rename { from: (dir, self.name(dir)), to: (to, self.name(to)) }
            }
            (14, _) => Change::Rmdir { dir, name: self.name(dir) },
            (15, _) => Change::Remove { dir, name: self.name(dir) },
            (n, _) if n == 16 || is_full => Change::Remove { dir, name: self.name(dir) },
            (17, _) => Change::Mkdir { dir, name: self.name(dir) },
            (18, _) => {
                let len = 1 + self.rng.below(200);
                let target =
                    self.rng.bytes(len).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
                Change::Symlink { dir, name: self.name(dir), target }
            }
            _ => {
                let guarded = self.rng.one_in(2);
                Change::Create { dir, name: self.name(dir), guarded }
            }
        }
    }

    /// A write to a file.
    pub fn write(&mut self, file: Node) -> Change {
        let size = self.model.size(file);
        let [often, sometimes, rarely] = self.sizes.write_bytes_max;
        let len = match self.rng.below(10) {
            0..=5 => 1 + self.rng.below(often),
            6..=8 => 1 + self.rng.below(sometimes),
            _ => 1 + self.rng.below(rarely),
        };
        let offset = match (self.rng.below(12), self.sizes.edge) {
            (0..=5, _) => self.rng.below(size + 1),
            (6..=8, _) => size,
            (9, _) => size + self.rng.below(self.sizes.hole_bytes_max),
            (11, Some(edge)) => edge - self.rng.below(len + 1),
            _ => self.rng.below(16) * 4096,
        };
        let offset = offset.min(self.sizes.file_bytes_max - len);
        let bytes = if self.rng.one_in(6) {
            vec![b'a' + u8::try_from(self.rng.below(3)).expect("small"); len]
        } else {
            self.rng.bytes(len)
        };
        let reach = match self.rng.below(8) {
            0 => Reach::File,
            1 => Reach::Data,
            _ => Reach::Unstable,
        };
        Change::Write { file, offset, bytes, reach }
    }

    /// Any node of a kind, if there is one.
    pub fn pick(&mut self, want: impl Fn(&Kind) -> bool) -> Option<Node> {
        let nodes = self.model.nodes().filter(|(_, kind)| want(kind));
        let nodes: Vec<Node> = nodes.map(|(node, _)| node).collect();
        (!nodes.is_empty()).then(|| *self.rng.pick(&nodes))
    }

    /// A name for `dir`: one that is there as often as not; long ones now and then.
    pub fn name(&mut self, dir: Node) -> String {
        let taken: Vec<String> = self.model.entries(dir).keys().cloned().collect();
        if !taken.is_empty() && self.rng.one_in(2) {
            return self.rng.pick(&taken).clone();
        }
        let mut name = format!("{}-{}", self.prefix, self.rng.below(30));
        if self.rng.one_in(8) {
            name.extend(std::iter::repeat_n('n', 255 - name.len()));
        }
        name
    }
}
