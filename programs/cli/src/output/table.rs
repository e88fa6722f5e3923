//! Tables for people: columns as wide as they must be, nothing that only colour or lines would say.

use super::visible;

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self {
            rows: vec![
                headings
                    .iter()
                    .map(|heading| (*heading).to_owned())
                    .collect(),
            ],
        }
    }

    /// Adds a row; cells keep to one line and to a length that leaves room for others.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows
            .push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    /// Whether it has no row but the headings.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// The table as text, without spaces at the ends of lines.
    pub(crate) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let padding = width.saturating_sub(cell.chars().count());
                line.push_str(cell);
                line.push_str(&" ".repeat(padding.saturating_add(2)));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn one_line(cell: &str) -> String {
    let flat: String = visible(cell)
        .chars()
        .map(|character| if character == '\n' { ' ' } else { character })
        .collect();
    if flat.chars().count() <= MAX_CELL {
        return flat;
    }
    let mut cut: String = flat.chars().take(MAX_CELL.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

const MAX_CELL: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["STAGE", "STATE"]);
        table.row(["infer".to_owned(), "admitting".to_owned()]);
        table.row(["post-process".to_owned(), "x\ny".to_owned()]);
        assert_eq!(
            table.text(),
            "STAGE         STATE\ninfer         admitting\npost-process  x y\n"
        );
    }
}
