//! Which thread runs on which core: decided once, from the configuration and the machine.

use serde_json::{Value as Json, json};

use crate::config::Config;

/// The core of each thread; `None` leaves it to the scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) reactors: Vec<Option<usize>>,
    pub(crate) upload: Option<usize>,
    pub(crate) control: Option<usize>,
}

impl Layout {
    /// Reactors on all cores but the last, which uploader and control share; on a machine with one
    /// core they all share it. `cores`: those this process may use.
    pub(crate) fn new(config: &Config, cores: &[usize]) -> Result<Self, String> {
        let (wanted, count) = (&config.reactors.cores, config.reactors.count);
        for core in wanted.iter().chain(&config.upload.core) {
            if !cores.contains(core) {
                return Err(format!(
                    "core {core} is not among those this process may use, {cores:?}; see \
                     reactors.cores and upload.core"
                ));
            }
        }
        let last = cores.last().copied().filter(|_| cores.len() > 1);
        let count = count.unwrap_or(cores.len().saturating_sub(1)).max(1);
        let reactors = if !wanted.is_empty() {
            wanted.iter().copied().map(Some).collect()
        } else if last.is_some() && count <= cores.len() {
            cores[..count].iter().copied().map(Some).collect()
        } else {
            vec![None; count]
        };
        let is_free = |core: &usize| !reactors.contains(&Some(*core));
        let spare = last.filter(is_free);
        Ok(Self { upload: config.upload.core.or(spare), control: spare, reactors })
    }

    /// For `status`.
    pub(crate) fn shown(&self) -> Json {
        let reactors: Vec<Json> = self
            .reactors
            .iter()
            .enumerate()
            .map(|(id, core)| json!({"reactor": id, "core": core}))
            .collect();
        json!({"reactors": reactors, "upload_core": self.upload, "control_core": self.control})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    #[track_caller]
    fn check(keys: &str, cores: &[usize], reactors: &[Option<usize>], rest: [Option<usize>; 2]) {
        let layout = Layout::new(&config(keys), cores).expect("a layout");
        assert_eq!(layout.reactors, reactors);
        assert_eq!([layout.upload, layout.control], rest);
    }

    fn config(keys: &str) -> Config {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("c.yaml");
        let text = format!(
            "cache: {{path: c}}\nmetadata: {{stores: {{m: {{type: memory}}}}}}\n\
             content: {{stores: {{c: {{type: memory}}}}}}\n\
             shares: [{{name: /e, metadata_store: m, content_store: c}}]\n{keys}\n"
        );
        let written = std::fs::File::create(&file)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
        written.expect("written");
        Config::load(&Source { file: Some(file), ..Source::default() }).expect("sound")
    }

    #[test]
    fn by_the_machine() {
        check("", &[0], &[None], [None, None]);
        check("", &[0, 1], &[Some(0)], [Some(1), Some(1)]);
        check("", &[2, 3, 5, 7], &[Some(2), Some(3), Some(5)], [Some(7), Some(7)]);
    }

    #[test]
    fn by_the_configuration() {
        let two = [Some(0), Some(1)];
        check("reactors: {count: 2}", &[0, 1], &two, [None, None]);
        check("reactors: {count: 3}", &[0, 1], &[None, None, None], [Some(1), Some(1)]);
        check("reactors: {cores: [1]}", &[0, 1, 2], &[Some(1)], [Some(2), Some(2)]);
        check("upload: {core: 0}", &[0, 1], &[Some(0)], [Some(0), Some(1)]);
        let error = Layout::new(&config("reactors: {cores: [9]}"), &[0, 1]);
        assert!(error.is_err_and(|error| error.starts_with("core 9 is not among")));
    }
}
