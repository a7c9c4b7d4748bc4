//! Tables of what there is most of.
//!
//! Promises: memory is bounded whatever comes; where rows were given up for that, it is said how many lines those had at most, which is
//! also the most that the count of another row may lack.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use serde::Serialize;

use super::time::Moment;

/// So many rows are kept; up to twice as many for a while.
const KEPT: usize = 2000;
/// So many rows are told.
const TOLD: usize = 100;
/// No cell is longer, in bytes.
const MAX_CELL: usize = 200;
/// Stands between the cells of a row.
const BETWEEN: char = '\u{1f}';

/// Rows with their counts.
#[derive(Default)]
pub struct Top {
    rows: HashMap<String, Row>,
    key: String,
    total: u64,
    lacking: u64,
    given_up: u64,
}

struct Row {
    count: u64,
    first: Option<i64>,
    last: Option<i64>,
}

/// The rows that are told.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// A stable name.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// What the cells of a row are.
    pub columns: &'static [&'static str],
    /// Those with the highest counts first.
    pub rows: Vec<TableRow>,
    /// How many lines all rows have, those that are not told among them.
    pub total: u64,
    /// How many rows are not told.
    pub more: u64,
    /// A count may be short by so many lines, since memory is bounded. 0: all counts are exact.
    pub lacking: u64,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub struct TableRow {
    /// What the columns say.
    pub cells: Vec<String>,
    /// How many lines.
    pub count: u64,
    /// The time of the first of them.
    pub first: Option<Moment>,
    /// And of the last.
    pub last: Option<Moment>,
}

impl Top {
    /// Counts a line in the row with these cells.
    pub fn add(&mut self, cells: &[&str], time: Option<i64>) {
        self.total += 1;
        self.key.clear();
        for (number, cell) in cells.iter().enumerate() {
            if number > 0 {
                self.key.push(BETWEEN);
            }
            let end = (0..=MAX_CELL.min(cell.len())).rev().find(|end| cell.is_char_boundary(*end)).unwrap_or(0);
            self.key.extend(cell[..end].chars().map(|c| if c == BETWEEN { ' ' } else { c }));
            if end < cell.len() {
                self.key.push('…');
            }
        }
        let row = match self.rows.get_mut(&self.key) {
            Some(row) => row,
            None => {
                if self.rows.len() == 2 * KEPT {
                    self.give_up_half();
                }
                self.rows.entry(self.key.clone()).or_insert(Row { count: 0, first: None, last: None })
            }
        };
        row.count += 1;
        row.first = row.first.into_iter().chain(time).min();
        row.last = row.last.max(time);
    }

    fn give_up_half(&mut self) {
        let mut counts: Vec<u64> = self.rows.values().map(|row| row.count).collect();
        let (_, &mut limit, _) = counts.select_nth_unstable(KEPT);
        let before = self.rows.len();
        let mut room = KEPT - self.rows.values().filter(|row| row.count > limit).count();
        // Of those that have as many as the one in the middle some stay, whichever.
        self.rows.retain(|_, row| {
            let stays = row.count > limit || row.count == limit && room > 0;
            room -= usize::from(stays && row.count == limit);
            stays
        });
        // What is given up may come again: its count then begins anew.
        self.lacking += limit;
        self.given_up += (before - self.rows.len()) as u64;
    }

    /// The table.
    pub fn table(self, name: &'static str, title: &'static str, columns: &'static [&'static str]) -> Table {
        let all = self.rows.len() as u64 + self.given_up;
        let mut rows: Vec<_> = self.rows.into_iter().collect();
        rows.sort_by(|(one, a), (other, b)| b.count.cmp(&a.count).then_with(|| one.cmp(other)));
        rows.truncate(TOLD);
        let told = |(key, row): (String, Row)| TableRow {
            cells: key.split(BETWEEN).map(str::to_owned).collect(),
            count: row.count,
            first: row.first.map(Moment),
            last: row.last.map(Moment),
        };
        let rows: Vec<_> = rows.into_iter().map(told).collect();
        Table { name, title, columns, more: all - rows.len() as u64, rows, total: self.total, lacking: self.lacking }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_most_of_stays() {
        let mut top = Top::default();
        for number in 0..100_000 {
            top.add(&["rare", &number.to_string()], Some(number));
            if number % 10 == 0 {
                top.add(&["often", "x\u{1f}y"], Some(number));
            }
        }
        assert!(top.rows.len() <= 2 * KEPT);
        let table = top.table("t", "T", &["a", "b"]);
        assert_eq!((table.rows.len(), table.total), (TOLD, 110_000));
        let first = &table.rows[0];
        assert_eq!(first.cells, ["often", "x y"]);
        assert_eq!((first.first, first.last), (Some(Moment(0)), Some(Moment(99_990))));
        assert!(first.count <= 10_000 && first.count + table.lacking >= 10_000, "{} {}", first.count, table.lacking);
        assert!(table.more > 90_000);
    }

    #[test]
    fn what_fits_is_exact() {
        let mut top = Top::default();
        for number in 0..500_u64 {
            for _ in 0..=number {
                top.add(&[&"é".repeat(300), &number.to_string()], None);
            }
        }
        let table = top.table("t", "T", &["a", "b"]);
        assert_eq!((table.rows[0].count, table.lacking, table.more), (500, 0, 400));
        assert!(table.rows[0].cells[0].len() <= MAX_CELL + '…'.len_utf8());
    }
}
