//! The words of the command may stand behind options: `orbd -p rbd snap ls image`.

use std::collections::HashSet;

use clap::{ArgAction, Command};

/// Moves the words that name the command to the front. Leaves a line alone that names none.
pub(super) fn command_first(root: &Command, args: Vec<String>) -> Vec<String> {
    let switches = Switches::of(root);
    let mut words = Vec::new();
    let mut index = 0;
    while let Some(arg) = args.get(index) {
        if arg == "--" {
            break;
        }
        if !arg.starts_with('-') || arg == "-" {
            words.push(index);
        } else if switches.takes_value(arg) {
            index += 1;
        }
        index += 1;
    }
    let mut command = root;
    let mut path = Vec::new();
    for index in words {
        let next = args
            .get(index)
            .and_then(|word| command.find_subcommand(word));
        let Some(next) = next else { break };
        command = next;
        path.push(index);
    }
    let mut front: Vec<String> = path
        .iter()
        .filter_map(|index| args.get(*index).cloned())
        .collect();
    front.extend(
        args.into_iter()
            .enumerate()
            .filter(|(index, _)| !path.contains(index))
            .map(|(_, arg)| arg),
    );
    front
}

/// The options, of whatever command, that take no value.
struct Switches {
    long: HashSet<String>,
    short: HashSet<char>,
}

impl Switches {
    fn of(root: &Command) -> Self {
        let mut switches = Self {
            long: ["help", "version"].map(String::from).into(),
            short: ['h', 'v'].into(),
        };
        switches.add(root);
        switches
    }

    fn add(&mut self, command: &Command) {
        for arg in command.get_arguments() {
            if !matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) {
                self.long.extend(
                    arg.get_long_and_visible_aliases()
                        .into_iter()
                        .flatten()
                        .map(String::from),
                );
                self.short
                    .extend(arg.get_short_and_visible_aliases().into_iter().flatten());
            }
        }
        for sub in command.get_subcommands() {
            self.add(sub);
        }
    }

    /// Whether the next word is the option's value.
    fn takes_value(&self, option: &str) -> bool {
        match option.strip_prefix("--") {
            Some(long) => !long.contains('=') && !self.long.contains(long),
            None => {
                let mut letters = option.chars().skip(1);
                let first = letters.next();
                // In `-s5` the value is already there.
                letters.next().is_none() && first.is_some_and(|c| !self.short.contains(&c))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Line;

    fn ordered(line: &str) -> String {
        command_first(
            &Line::command(),
            line.split(' ').map(String::from).collect(),
        )
        .join(" ")
    }

    #[test]
    fn the_command_comes_first() {
        assert_eq!(
            ordered("-p rbd create --size 10 a"),
            "create -p rbd --size 10 a"
        );
        assert_eq!(
            ordered("--id=me snap -p rbd ls a"),
            "snap ls --id=me -p rbd a"
        );
        assert_eq!(ordered("-l ls rbd"), "ls -l rbd");
        assert_eq!(
            ordered("-s5 --no-progress resize a"),
            "resize -s5 --no-progress a"
        );
        assert_eq!(ordered("create create"), "create create");
    }

    #[test]
    fn lines_without_a_command_are_left_alone() {
        assert_eq!(ordered("-p rbd bogus ls"), "-p rbd bogus ls");
        assert_eq!(ordered("-- ls"), "-- ls");
    }
}
