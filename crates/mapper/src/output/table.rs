//! Tables of text in columns (ceph: src/common/TextTable.cc).

/// On which side a column's cells are filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a line of headings, as wide as they need to be, two spaces between columns.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of these columns. Headings are always aligned to the left.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, which has as many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The lines.
    pub(crate) fn render(&self) -> String {
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, (heading, _))| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(index))
                    .map(|cell| cell.chars().count())
                    .fold(heading.len(), usize::max)
            })
            .collect();
        let mut out = String::new();
        let headings = self.columns.iter().map(|(heading, _)| *heading);
        line(
            &mut out,
            headings.zip(widths.iter().map(|width| (*width, Align::Left))),
        );
        for row in &self.rows {
            let shapes = self.columns.iter().zip(&widths);
            line(
                &mut out,
                row.iter()
                    .map(String::as_str)
                    .zip(shapes.map(|((_, align), width)| (*width, *align))),
            );
        }
        out
    }
}

fn line<'a>(out: &mut String, cells: impl Iterator<Item = (&'a str, (usize, Align))>) {
    for (index, (cell, (width, align))) in cells.enumerate() {
        if index > 0 {
            out.push_str("  ");
        }
        let padding = std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()));
        match align {
            Align::Left => {
                out.push_str(cell);
                out.extend(padding);
            }
            Align::Right => {
                out.extend(padding);
                out.push_str(cell);
            }
        }
    }
    out.push('\n');
}
