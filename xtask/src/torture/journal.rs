//! What the clients of an image note of their operations: a line before each is submitted and a line
//! after each is answered, written to a file at once, so that it is there whatever becomes of the client.
//!
//! All clients of an image append to one file. The order of the lines is all that is known of time: an
//! operation whose answer was noted before another's submission was over before that other began.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, bail};

use super::stamp::{OpId, Seen};

/// What an operation does to its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    /// Leaves zeros.
    Zero,
    /// Leaves zeros or what was there, block by block.
    Discard,
    Flush,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The image is open; the address by which the cluster knows the client, if the client knows it.
    Opened {
        generation: u32,
        address: Option<String>,
    },
    Submitted {
        id: OpId,
        kind: Kind,
        first: u64,
        count: u64,
    },
    /// Done; of a read, with what was in each block.
    Done {
        id: OpId,
        seen: Vec<Seen>,
    },
    Failed {
        id: OpId,
        error: String,
    },
    /// Failed because the cluster takes nothing more from this client.
    Refused {
        id: OpId,
    },
    /// Everything this client submitted was answered and the image is closed.
    Closed {
        generation: u32,
    },
}

impl Entry {
    /// In words, without the ends of the line.
    fn to_words(&self) -> String {
        match self {
            Self::Opened {
                generation,
                address,
            } => format!("opened {generation} {}", address.as_deref().unwrap_or("-")),
            Self::Submitted {
                id,
                kind,
                first,
                count,
            } => format!("submitted {} {kind:?} {first} {count}", id.0),
            Self::Done { id, seen } => {
                let mut line = format!("done {}", id.0);
                for block in seen {
                    match block {
                        Seen::Zeros => line.push_str(" 0"),
                        Seen::Write(id) => line.push_str(&format!(" {}", id.0)),
                        Seen::Damaged => line.push_str(" !"),
                    }
                }
                line
            }
            Self::Failed { id, error } => {
                format!("failed {} {}", id.0, error.replace('\n', " "))
            }
            Self::Refused { id } => format!("refused {}", id.0),
            Self::Closed { generation } => format!("closed {generation}"),
        }
    }

    fn from_words(line: &str) -> anyhow::Result<Self> {
        let context = || format!("a journal has the line {line:?}");
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = rest.split(' ');
        let mut number = || -> anyhow::Result<u64> {
            let word = words.next().with_context(context)?;
            word.parse().with_context(context)
        };
        Ok(match word {
            "opened" => {
                let generation = u32::try_from(number()?)?;
                let address = rest.split_once(' ').with_context(context)?.1;
                Self::Opened {
                    generation,
                    address: (address != "-").then(|| address.to_owned()),
                }
            }
            "submitted" => {
                let id = OpId(number()?);
                let mut words = rest.split(' ').skip(1);
                let kind = match words.next() {
                    Some("Read") => Kind::Read,
                    Some("Write") => Kind::Write,
                    Some("Zero") => Kind::Zero,
                    Some("Discard") => Kind::Discard,
                    Some("Flush") => Kind::Flush,
                    _ => bail!("{}", context()),
                };
                let mut number = || -> anyhow::Result<u64> {
                    let word = words.next().with_context(context)?;
                    word.parse().with_context(context)
                };
                Self::Submitted {
                    id,
                    kind,
                    first: number()?,
                    count: number()?,
                }
            }
            "done" => {
                let id = OpId(number()?);
                let seen = rest.split(' ').skip(1).map(|word| match word {
                    "0" => Ok(Seen::Zeros),
                    "!" => Ok(Seen::Damaged),
                    id => Ok(Seen::Write(OpId(id.parse().with_context(context)?))),
                });
                Self::Done {
                    id,
                    seen: seen.collect::<anyhow::Result<_>>()?,
                }
            }
            "failed" => Self::Failed {
                id: OpId(number()?),
                error: rest
                    .split_once(' ')
                    .map_or("", |(_, error)| error)
                    .to_owned(),
            },
            "refused" => Self::Refused {
                id: OpId(number()?),
            },
            "closed" => Self::Closed {
                generation: u32::try_from(number()?)?,
            },
            _ => bail!("{}", context()),
        })
    }
}

/// The client's end.
pub(super) struct Journal(Mutex<File>);

impl Journal {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self(Mutex::new(file)))
    }

    /// When this returns, the line has survived this process.
    pub(super) fn note(&self, entry: &Entry) -> io::Result<()> {
        // Whoever is killed within a line has it cut where a page ends: the line of another client that
        // comes next is not to be taken for its rest.
        let line = format!("\n{}{END}\n", entry.to_words());
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes())
    }
}

/// The checker's end: what has been added since it last looked.
#[derive(Debug)]
pub(super) struct Tail {
    file: File,
    /// The beginning of a line whose end is not there yet.
    partial: Vec<u8>,
}

impl Tail {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).read(true).open(path)?;
        Ok(Self {
            file,
            partial: Vec::new(),
        })
    }

    /// The lines that are whole. What a killed client began to note stays unread: whatever it was, it
    /// did not come to submit it.
    pub(super) fn read(&mut self) -> anyhow::Result<Vec<Entry>> {
        self.file.read_to_end(&mut self.partial)?;
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let rest = self.partial.split_off(end + 1);
        let whole = std::mem::replace(&mut self.partial, rest);
        let text = std::str::from_utf8(&whole)?;
        let whole = text.lines().filter_map(|line| line.strip_suffix(END));
        whole.map(Entry::from_words).collect()
    }
}

/// How a line ends that is whole.
const END: &str = " .";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_read_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut tail = Tail::open(&path).unwrap();
        let journal = Journal::create(&path).unwrap();
        let id = OpId::new(1, 5);
        let entries = [
            Entry::Opened {
                generation: 1,
                address: None,
            },
            Entry::Opened {
                generation: 2,
                address: Some("127.0.0.1:0/77".into()),
            },
            Entry::Submitted {
                id,
                kind: Kind::Discard,
                first: 9,
                count: 2,
            },
            Entry::Done {
                id,
                seen: vec![Seen::Zeros, Seen::Write(OpId::new(1, 4)), Seen::Damaged],
            },
            Entry::Done { id, seen: vec![] },
            Entry::Failed {
                id,
                error: "no such pool".into(),
            },
            Entry::Refused { id },
            Entry::Closed { generation: 2 },
        ];
        assert_eq!(tail.read().unwrap(), []);
        for entry in &entries {
            journal.note(entry).unwrap();
        }
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"\nsubmitted 12").unwrap();
        assert_eq!(tail.read().unwrap(), entries);
        assert_eq!(tail.read().unwrap(), []);
        file.write_all(b" Read 3 1 .\n").unwrap();
        assert_eq!(tail.read().unwrap().len(), 1);
    }

    #[test]
    fn a_line_that_was_cut_is_not_joined_with_the_next_clients() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut tail = Tail::open(&path).unwrap();
        let mut killed = OpenOptions::new().append(true).open(&path).unwrap();
        killed.write_all(b"\ndone 7 0 0 1").unwrap();
        let other = Journal::create(&path).unwrap();
        let entry = Entry::Closed { generation: 2 };
        other.note(&entry).unwrap();
        assert_eq!(tail.read().unwrap(), [entry]);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_an_error() {
        for line in [
            "",
            "done x",
            "submitted 1 Think 0 1",
            "submitted 1 Read 0",
            "opened 1",
            "closed",
            "over",
        ] {
            assert!(Entry::from_words(line).is_err(), "{line:?}");
        }
    }
}
