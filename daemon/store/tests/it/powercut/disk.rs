//! What a disk holds after a power cut, as far as a program may rely on it.
//!
//! What a file's sync covered is there. Of what came after it, any part may be: each write whole, in part (whole sectors
//! of 512 bytes) or not at all, in any order. A new name, a rename or a removal is there for certain once the directory was
//! synced; before that, a beginning of the changes of each directory is there (file systems keep their own order in a
//! directory, and say nothing about the order between names and contents).

use std::collections::BTreeMap;
use std::path::Path;

use super::recording::{Event, What};
use crate::support::Numbers;

const SECTOR: usize = 512;
const ROOT: usize = 0;

/// A change that no sync covers yet, with its place in the order of changes.
#[derive(Debug, Clone)]
struct Pending<T> {
    number: u64,
    change: T,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, data: Vec<u8> },
    Size(u64),
}

type Names = BTreeMap<String, usize>;
/// Names that get another meaning together.
type Renaming = Vec<(String, Option<usize>)>;

#[derive(Debug, Clone)]
enum Node {
    File { durable: Vec<u8>, pending: Vec<Pending<Change>> },
    Dir { now: Names, durable: Names, pending: Vec<Pending<Renaming>> },
}

/// A model of the disk, fed with events.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    nodes: Vec<Node>,
    /// Syncs that were begun: by thread, which node, covering changes below which number.
    begun: BTreeMap<u64, (usize, u64)>,
    changes: u64,
}

/// How the unsynced is treated in one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Dropped,
    /// Kept up to one change, of which a part is kept.
    Torn,
    /// Any of the writes.
    Reordered,
    /// Any of the sectors.
    Shredded,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self { nodes: vec![Node::new_dir()], begun: BTreeMap::new(), changes: 0 }
    }

    /// Takes an event in.
    pub(crate) fn apply(&mut self, event: &Event) {
        self.changes += 1;
        let path = event.path.as_str();
        match &event.what {
            What::Create => {
                if self.find(path).is_none() {
                    let node = self.add(Node::File { durable: Vec::new(), pending: Vec::new() });
                    self.rename(path, Some(node));
                }
            }
            What::MakeDir => {
                let node = self.add(Node::new_dir());
                self.rename(path, Some(node));
            }
            What::Unlink | What::RemoveDir => self.rename(path, None),
            What::Rename { to } => self.move_to(path, to),
            What::Write { offset, data } => {
                self.change(path, Change::Write { offset: *offset, data: data.clone() });
            }
            What::Size(size) => self.change(path, Change::Size(*size)),
            What::SyncBegin { thread } => {
                if let Some(node) = self.find(path) {
                    self.begun.insert(*thread, (node, self.changes));
                }
            }
            What::SyncEnd { thread } => {
                if let Some((node, before)) = self.begun.remove(thread) {
                    self.nodes[node].make_durable(before);
                }
            }
        }
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn find(&self, path: &str) -> Option<usize> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| *name != ".") {
            at = match &self.nodes[at] {
                Node::Dir { now, .. } => *now.get(name)?,
                Node::File { .. } => return None,
            };
        }
        Some(at)
    }

    fn parent<'a>(&self, path: &'a str) -> (usize, &'a str) {
        let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
        (self.find(dir).unwrap_or_else(|| panic!("{dir} is not known")), name)
    }

    fn rename_all(&mut self, dir: usize, renaming: Renaming) {
        let number = self.changes;
        let Node::Dir { now, pending, .. } = &mut self.nodes[dir] else { panic!("not a directory") };
        give_names(now, &renaming);
        pending.push(Pending { number, change: renaming });
    }

    fn rename(&mut self, path: &str, node: Option<usize>) {
        let (dir, name) = self.parent(path);
        self.rename_all(dir, vec![(name.to_owned(), node)]);
    }

    fn move_to(&mut self, from: &str, to: &str) {
        let node = self.find(from).unwrap_or_else(|| panic!("{from} is not known"));
        let ((from_dir, from), (to_dir, to)) = (self.parent(from), self.parent(to));
        if from_dir == to_dir {
            let both = vec![(from.to_owned(), None), (to.to_owned(), Some(node))];
            self.rename_all(from_dir, both);
        } else {
            self.rename_all(to_dir, vec![(to.to_owned(), Some(node))]);
            self.rename_all(from_dir, vec![(from.to_owned(), None)]);
        }
    }

    fn change(&mut self, path: &str, change: Change) {
        // A file that has lost its name is gone with the power.
        if path.ends_with(" (deleted)") {
            return;
        }
        let node = self.find(path).unwrap_or_else(|| panic!("{path} is not known"));
        let number = self.changes;
        if let Node::File { pending, .. } = &mut self.nodes[node] {
            pending.push(Pending { number, change });
        }
    }

    /// Writes the disk as it would be had nothing been lost.
    pub(crate) fn write_whole(&self, to: &Path) {
        self.write_node(ROOT, to, Fate::Kept, &mut Numbers(0));
    }

    /// Writes the disk as it may be after a cut now.
    pub(crate) fn write_cut(&self, to: &Path, numbers: &mut Numbers) {
        let fates = [Fate::Kept, Fate::Dropped, Fate::Torn, Fate::Reordered, Fate::Shredded];
        let fate = fates[numbers.below(fates.len() as u64) as usize];
        self.write_node(ROOT, to, fate, numbers);
    }

    fn write_node(&self, node: usize, to: &Path, fate: Fate, numbers: &mut Numbers) {
        match &self.nodes[node] {
            Node::File { durable, pending } => {
                std::fs::write(to, content(durable, pending, fate, numbers)).unwrap();
            }
            Node::Dir { durable, pending, .. } => {
                std::fs::create_dir_all(to).unwrap();
                let mut names = durable.clone();
                let kept = match fate {
                    Fate::Kept => pending.len(),
                    Fate::Dropped => 0,
                    _ => numbers.below(pending.len() as u64 + 1) as usize,
                };
                pending[..kept].iter().for_each(|pending| give_names(&mut names, &pending.change));
                for (name, node) in names {
                    self.write_node(node, &to.join(name), fate, numbers);
                }
            }
        }
    }
}

impl Node {
    fn new_dir() -> Self {
        Self::Dir { now: Names::new(), durable: Names::new(), pending: Vec::new() }
    }

    /// A sync that covers the changes below a number has ended.
    fn make_durable(&mut self, before: u64) {
        match self {
            Self::File { durable, pending } => {
                let covered = pending.partition_point(|pending| pending.number < before);
                for pending in pending.drain(..covered) {
                    pending.change.apply(durable, |_| true);
                }
            }
            Self::Dir { durable, pending, .. } => {
                let covered = pending.partition_point(|pending| pending.number < before);
                pending.drain(..covered).for_each(|pending| give_names(durable, &pending.change));
            }
        }
    }
}

impl Change {
    /// Changes a file's content, of a write those sectors that `keep` says.
    fn apply(&self, content: &mut Vec<u8>, mut keep: impl FnMut(usize) -> bool) {
        match self {
            Self::Size(size) => content.resize(*size as usize, 0),
            Self::Write { offset, data } => {
                let (mut at, mut rest) = (*offset as usize, data.as_slice());
                while !rest.is_empty() {
                    let length = (SECTOR - at % SECTOR).min(rest.len());
                    let (sector, tail) = rest.split_at(length);
                    if keep(at / SECTOR) {
                        content.resize(content.len().max(at + length), 0);
                        content[at..at + length].copy_from_slice(sector);
                    }
                    at += length;
                    rest = tail;
                }
            }
        }
    }
}

fn give_names(names: &mut Names, renaming: &Renaming) {
    for (name, node) in renaming {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

fn content(durable: &[u8], pending: &[Pending<Change>], fate: Fate, numbers: &mut Numbers) -> Vec<u8> {
    let mut content = durable.to_vec();
    let torn = numbers.below(pending.len() as u64 + 1) as usize;
    for (at, pending) in pending.iter().enumerate() {
        let change = &pending.change;
        match fate {
            Fate::Kept => change.apply(&mut content, |_| true),
            Fate::Torn if at < torn => change.apply(&mut content, |_| true),
            Fate::Torn if at == torn => change.apply(&mut content, |_| numbers.below(2) == 0),
            Fate::Reordered if numbers.below(2) == 0 => change.apply(&mut content, |_| true),
            Fate::Shredded => match change {
                Change::Size(_) if numbers.below(2) == 0 => {}
                _ => change.apply(&mut content, |_| numbers.below(2) == 0),
            },
            Fate::Dropped | Fate::Torn | Fate::Reordered => {}
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(path: &str, what: What) -> Event {
        Event { path: path.into(), what }
    }

    fn write(path: &str, offset: u64, data: &[u8]) -> Event {
        event(path, What::Write { offset, data: data.to_vec() })
    }

    /// Every image of 200 cuts, as (name, content).
    fn images(disk: &Disk) -> Vec<Vec<(String, Vec<u8>)>> {
        let mut numbers = Numbers(3);
        let image = |numbers: &mut Numbers| {
            let dir = tempfile::tempdir().unwrap();
            disk.write_cut(dir.path(), numbers);
            let mut files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap).collect();
            files.sort_by_key(std::fs::DirEntry::file_name);
            files
                .iter()
                .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
                .collect()
        };
        (0..200).map(|_| image(&mut numbers)).collect()
    }

    #[test]
    fn what_is_synced_stays_and_what_is_not_comes_in_every_form() {
        let mut disk = Disk::new();
        disk.apply(&event("a", What::Create));
        disk.apply(&write("a", 0, &[1; 1024]));
        // Neither the name nor the content is certain.
        assert!(images(&disk).iter().any(Vec::is_empty));
        disk.apply(&event(".", What::SyncBegin { thread: 1 }));
        disk.apply(&event(".", What::SyncEnd { thread: 1 }));
        assert!(images(&disk).iter().any(|image| image == &[("a".into(), vec![])]));
        disk.apply(&event("a", What::SyncBegin { thread: 1 }));
        // Written while the sync runs: not covered.
        disk.apply(&write("a", 512, &[2; 1024]));
        disk.apply(&event("a", What::SyncEnd { thread: 1 }));
        let all = images(&disk);
        assert!(all.iter().all(|image| image[0].1[..512] == [1; 512]));
        let end = |second: u8, third: Option<u8>| {
            let want: Vec<u8> = [vec![second; 512], third.map_or(vec![], |third| vec![third; 512])].concat();
            all.iter().any(|image| image[0].1[512..] == want)
        };
        assert!(end(1, None) && end(2, None) && end(2, Some(2)) && end(1, Some(2)));
    }

    #[test]
    fn a_rename_is_whole_and_may_come_before_the_content() {
        let mut disk = Disk::new();
        let sync = |disk: &mut Disk, path: &str| {
            disk.apply(&event(path, What::SyncBegin { thread: 1 }));
            disk.apply(&event(path, What::SyncEnd { thread: 1 }));
        };
        disk.apply(&event("old", What::Create));
        disk.apply(&write("old", 0, b"old"));
        sync(&mut disk, "old");
        sync(&mut disk, ".");
        disk.apply(&event("new", What::Create));
        disk.apply(&write("new", 0, b"new"));
        disk.apply(&event("new", What::Rename { to: "old".into() }));
        let all = images(&disk);
        assert!(all.iter().all(|image| image[0].0 == "new" || image[0].0 == "old"));
        assert!(all.iter().any(|image| image == &[("old".into(), vec![])]), "the name without the content");
        assert!(all.iter().any(|image| image == &[("old".into(), b"new".to_vec())]));
        assert!(all.iter().any(|image| image == &[("old".into(), b"old".to_vec())]));
    }
}
