//! A ceph.conf: settings by section.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cephx::ini::{self, Section, Setting};
use zeroize::Zeroizing;

use super::ConfigError;

/// The contents of a configuration file.
#[derive(Clone, Debug)]
pub(super) struct ConfFile {
    path: PathBuf,
    sections: Vec<Section>,
}

impl ConfFile {
    pub(super) fn parse(path: PathBuf, text: &str) -> Result<Self, ConfigError> {
        match ini::parse(text) {
            Ok(sections) => Ok(Self { path, sections }),
            Err(source) => Err(ConfigError::Syntax { path, source }),
        }
    }

    /// Reads the first of `paths` that exists; `None` if none does.
    pub(super) fn find(paths: &[PathBuf]) -> Result<Option<Self>, ConfigError> {
        for path in paths {
            match read(path) {
                Ok(text) => return Self::parse(path.clone(), &text).map(Some),
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    let path = path.clone();
                    return Err(ConfigError::Read { path, source });
                }
            }
        }
        Ok(None)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The setting of this name in the first of `sections` that has one. Within a section, which may
    /// be spread over several headings, the last one counts.
    pub(super) fn find_setting(&self, sections: &[&str], name: &str) -> Option<(&str, &Setting)> {
        sections.iter().find_map(|wanted| {
            self.sections
                .iter()
                .filter(|section| section.name == *wanted)
                .flat_map(|section| {
                    section
                        .settings
                        .iter()
                        .map(|it| (section.name.as_str(), it))
                })
                .rfind(|(_, setting)| setting.name == name)
        })
    }

    /// The names of sections that begin with `prefix`, each once, in order.
    pub(super) fn sections_with(&self, prefix: &str) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for section in &self.sections {
            if section.name.starts_with(prefix) && !names.contains(&section.name.as_str()) {
                names.push(&section.name);
            }
        }
        names
    }
}

/// Reads a text file that may hold secrets.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = File::open(path)?;
    let mut text = Zeroizing::new(String::with_capacity(TYPICAL_LEN));
    let len = file.take(MAX_LEN + 1).read_to_string(&mut text)?;
    if len as u64 > MAX_LEN {
        let message = "larger than any such file should be";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(text)
}

/// Room for most keyrings and configurations, so that the text is not moved while it is read.
const TYPICAL_LEN: usize = 16 << 10;
/// Files that people write have some kilobytes; this guards against being pointed at a device.
const MAX_LEN: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> ConfFile {
        ConfFile::parse("/x/ceph.conf".into(), text).unwrap()
    }

    #[test]
    fn the_nearest_section_and_its_last_setting_win() {
        let file = file("[client.a]\nx = 1\n[global]\nx = 2\ny = 3\n[client.a]\nx = 4\n[client]\n");
        let sections = ["client.a", "client", "global"];
        let value = |name| {
            let (section, setting) = file.find_setting(&sections, name)?;
            Some((section.to_string(), setting.value.to_string(), setting.line))
        };
        assert_eq!(value("x"), Some(("client.a".into(), "4".into(), 7)));
        assert_eq!(value("y"), Some(("global".into(), "3".into(), 5)));
        assert_eq!(value("z"), None);
    }

    #[test]
    fn errors_name_file_and_line() {
        let error = ConfFile::parse("/x/ceph.conf".into(), "[global]\nfoo\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "/x/ceph.conf: line 2: expected `[section]` or `name = value`"
        );
    }

    #[test]
    fn the_first_file_that_exists_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("b"), "[global]\nx = 1\n").unwrap();
        std::fs::write(path("c"), "[global]\nx = 2\n").unwrap();
        let found = ConfFile::find(&[path("a"), path("b"), path("c")]).unwrap();
        assert_eq!(found.unwrap().path(), path("b"));
        assert!(ConfFile::find(&[path("a")]).unwrap().is_none());
        assert!(matches!(
            ConfFile::find(&[dir.path().to_path_buf()]),
            Err(ConfigError::Read { .. })
        ));
    }

    #[test]
    fn endless_files_are_refused() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
