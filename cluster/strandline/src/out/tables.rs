//! Tables: whole where a program reads them, as wide as the terminal where a person does. There long cells are cut with `…`, and columns that
//! find no place even so are left out, which is said below.

use super::{cell, escaped, size};
use comfy_table::{ColumnConstraint, Row, Table, Width, presets};
use serde_json::{Map, Value};

/// Columns whose cells are all this short are not cut.
const SHORT: u16 = 14;
/// So much of a longer one stays: the date of a moment, the beginning of a text.
const MOMENT_MIN: u16 = 11;
const TEXT_MIN: u16 = 8;

/// How tables are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Look {
    /// Columns of the terminal; `None`: nothing is cut.
    pub(crate) width: Option<u16>,
    /// Whether heads are bold, and what tells of trouble is coloured.
    pub(crate) is_coloured: bool,
    /// Without lines between rows and cells.
    pub(crate) is_bare: bool,
}

/// What a line tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tone {
    Plain,
    Head,
    Warning,
    Trouble,
}

impl Look {
    /// As stdout wants it.
    pub(crate) fn of_stdout() -> Self {
        let width = super::terminal_size().map(|(columns, _)| columns);
        Self { width, is_coloured: super::is_coloured(&std::io::stdout()), is_bare: false }
    }

    /// A line in its tone.
    pub(crate) fn painted(self, tone: Tone, line: &str) -> String {
        let code = match tone {
            Tone::Head => "1",
            Tone::Warning => "33",
            Tone::Trouble => "31",
            Tone::Plain => return line.to_owned(),
        };
        if self.is_coloured && !line.is_empty() { format!("\x1b[{code}m{line}\x1b[0m") } else { line.to_owned() }
    }

    /// A text in lines that the terminal holds.
    pub(crate) fn wrapped(self, text: &str) -> Vec<String> {
        let Some(width) = self.width.map(usize::from) else { return vec![text.to_owned()] };
        let mut lines = vec![String::new()];
        for word in text.split(' ') {
            let Some(line) = lines.last_mut() else { break };
            let (so_far, more) = (line.chars().count(), word.chars().count());
            if so_far == 0 {
                line.push_str(word);
            } else if so_far + 1 + more <= width {
                line.push(' ');
                line.push_str(word);
            } else {
                lines.push(word.to_owned());
            }
        }
        lines
    }

    /// Cells that all columns of a table take together with what stands between them.
    const fn frame(self, columns: usize) -> usize {
        if self.is_bare { 2 * columns } else { 3 * columns + 1 }
    }
}

/// A table with a header line, as stdout wants it.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rows: Vec<_> = rows.into_iter().map(|row| (Tone::Plain, row)).collect();
    drawn(header, rows, Look::of_stdout())
}

/// A table of JSON objects, one row each: the named columns that any of them has, in this order. Fields that end in
/// `bytes` are shown as sizes.
pub(crate) fn json_table(rows: &[Value], columns: &[&str]) -> String {
    json_table_in(Look::of_stdout(), rows, columns)
}

/// The same, drawn so.
pub(crate) fn json_table_in(look: Look, rows: &[Value], columns: &[&str]) -> String {
    let shown: Vec<&str> = columns.iter().copied().filter(|key| rows.iter().any(|row| !row[*key].is_null())).collect();
    let text = |row: &Value, key: &str| match &row[key] {
        Value::Number(bytes) if key.ends_with("bytes") => bytes.as_u64().map_or_else(|| bytes.to_string(), size),
        Value::Object(columns) if key == "partition" => partition(columns),
        other => cell(other),
    };
    let cells = |row: &Value| shown.iter().map(|key| text(row, key)).collect();
    drawn(&shown, rows.iter().map(|row| (tone(row), cells(row))).collect(), look)
}

/// `dt=2026-11-23`, as its folder is called.
fn partition(columns: &Map<String, Value>) -> String {
    let folders = columns.iter().map(|(column, value)| match value {
        Value::Null => format!("{column}=null"),
        value => format!("{column}={}", cell(value)),
    });
    folders.collect::<Vec<_>>().join(" ")
}

/// A job that failed or was cancelled, a node that is away.
fn tone(row: &Value) -> Tone {
    if row["error"].is_string() || row["away_since"].is_string() {
        Tone::Trouble
    } else if row["cancelled"] == true {
        Tone::Warning
    } else {
        Tone::Plain
    }
}

/// A column that has a place.
struct Column {
    at: usize,
    /// The width of its longest cell.
    wanted: u16,
    width: u16,
}

fn drawn(header: &[&str], rows: Vec<(Tone, Vec<String>)>, look: Look) -> String {
    let header: Vec<String> = header.iter().map(|name| escaped(name).into_owned()).collect();
    let safe = |row: Vec<String>| row.iter().map(|cell| escaped(cell).into_owned()).collect::<Vec<String>>();
    let (tones, rows): (Vec<Tone>, Vec<Vec<String>>) = rows.into_iter().map(|(tone, row)| (tone, safe(row))).unzip();
    let columns = columns(&header, &rows, look);
    let mut table = Table::new();
    table.load_preset(if look.is_bare { presets::NOTHING } else { presets::UTF8_FULL_CONDENSED });
    // cells hold no control characters: they are cut at any place, not only between words
    table.set_truncation_indicator("…").set_delimiter('\u{0}').set_header(line(&header, &columns, look));
    for row in &rows {
        table.add_row(line(row, &columns, look));
    }
    let padded = |column: &Column| ColumnConstraint::Absolute(Width::Fixed(column.width.saturating_add(2)));
    table.set_constraints(columns.iter().map(padded));
    let (head, first) = if look.is_bare { (0, 1) } else { (1, 3) };
    let tone = |at: usize| match at.checked_sub(first) {
        Some(row) => tones.get(row).copied().unwrap_or(Tone::Plain),
        None if at == head => Tone::Head,
        None => Tone::Plain,
    };
    let text = table.to_string();
    // trailing blanks of the last column only make diffs noisy
    let lines = text.lines().enumerate().map(|(at, line)| look.painted(tone(at), line.trim_end()));
    let mut lines: Vec<String> = lines.collect();
    if columns.len() < header.len() && !look.is_bare {
        let left_out = header.iter().enumerate().filter(|(at, _)| columns.iter().all(|column| column.at != *at));
        let names: Vec<&str> = left_out.map(|(_, name)| name.as_str()).collect();
        lines.extend(look.wrapped(&format!("no room for: {}", names.join(", "))));
    }
    lines.join("\n")
}

/// The cells of these columns; on a terminal in one line.
fn line(cells: &[String], columns: &[Column], look: Look) -> Row {
    let is_cut = look.width.is_some();
    let text = |column: &Column| {
        let whole = cells.get(column.at).map_or("", String::as_str);
        if is_cut { beginning(whole, column.width) } else { whole }
    };
    let mut row = Row::from(columns.iter().map(text).collect::<Vec<_>>());
    if is_cut {
        row.max_height(1);
    }
    row
}

/// More of a cell than a column shows, and not all of one that is very long: its lines are made anew for each one that is cut off.
fn beginning(cell: &str, width: u16) -> &str {
    let end = cell.char_indices().nth(8 * usize::from(width) + 64);
    end.and_then(|(at, _)| cell.get(..at)).unwrap_or(cell)
}

/// Those that have a place, in their order: each as short as it may be, and then wider as long as there is room.
fn columns(header: &[String], rows: &[Vec<String>], look: Look) -> Vec<Column> {
    let (heads, cells) = (widths(&[header.to_vec()]), widths(rows));
    let all = heads.iter().enumerate().map(|(at, head)| {
        let cell = cells.get(at).copied().unwrap_or(0);
        let is_moment = rows.iter().any(|row| row.get(at).is_some_and(|cell| is_moment(cell)));
        let longest = if is_moment { MOMENT_MIN } else { TEXT_MIN };
        let least = if cell <= SHORT { cell } else { longest };
        Column { at, wanted: cell.max(*head), width: least.max(TEXT_MIN.min(*head)) }
    });
    let Some(width) = look.width.map(usize::from) else {
        return all.map(|column| Column { width: column.wanted, ..column }).collect();
    };
    let (mut kept, mut taken) = (Vec::<Column>::new(), 0);
    for column in all {
        let with_it = taken + usize::from(column.width);
        if kept.is_empty() || with_it + look.frame(kept.len() + 1) <= width {
            kept.push(column);
            taken = with_it;
        }
    }
    let mut left = width.saturating_sub(taken + look.frame(kept.len()));
    while left > 0 {
        let short = kept.iter_mut().filter(|column| column.width < column.wanted).min_by_key(|column| column.width);
        let Some(column) = short else { break };
        column.width += 1;
        left -= 1;
    }
    kept
}

/// The width of the longest cell of each column.
fn widths(rows: &[Vec<String>]) -> Vec<u16> {
    let mut table = Table::new();
    table.add_rows(rows.iter().cloned());
    table.column_max_content_widths()
}

/// `2026-11-23T10:00:00.5Z`
fn is_moment(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20 && bytes.get(10) == Some(&b'T') && bytes.last() == Some(&b'Z')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_the_named_columns_that_are_there() {
        let rows = [json!({"a": 1, "c": 5}), json!({"b_bytes": 2048, "a": null}), json!({"a": ["x", 2]})];
        let text = json_table_in(Look::default(), &rows, &["b_bytes", "a", "nowhere"]);
        for part in ["a", "b_bytes", "1", "-", "x, 2", "2.00 KiB"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("nowhere") && !text.contains('c') && !text.contains('5'), "{text}");
    }

    #[test]
    fn what_clients_name_cannot_write_over_a_table() {
        let rows = [json!({"stream_type": "a\u{1b}[2Jb\r\nc\u{9b}", "bytes": 1})];
        let text = json_table_in(Look::default(), &rows, &["stream_type", "bytes"]);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert!(text.contains(r"a\u{1b}[2Jb\r\nc\u{9b}"), "{text}");
    }

    const COLUMNS: &[&str] = &["name", "rows", "ended_at", "error"];

    fn job() -> Value {
        let error = "no such device: the disk of this store is gone, and nobody knows where";
        json!({"name": "Größe 1", "rows": 123_456, "ended_at": "2026-11-23T10:00:00.123456Z", "error": error})
    }

    #[test]
    fn cells_are_cut_to_the_width_of_the_terminal_and_nowhere_else() {
        let whole = json_table_in(Look::default(), &[job()], COLUMNS);
        assert!(whole.contains("nobody knows where") && !whole.contains('…'), "{whole}");
        for (width, is_bare) in [(80, false), (80, true), (60, false), (60, true)] {
            let look = Look { width: Some(width), is_bare, ..Look::default() };
            let text = json_table_in(look, &[job()], COLUMNS);
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{text}");
            for part in ["Größe 1", "123456", "2026-11-23", "no such", "…"] {
                assert!(text.contains(part), "{part} at {width}: {text}");
            }
            assert_eq!(text.lines().count(), if is_bare { 2 } else { 5 }, "one line a row: {text}");
        }
    }

    #[test]
    fn a_cell_of_any_length_is_whole_where_nobody_watches_and_cut_at_once_where_somebody_does() {
        let rows = [json!({"name": "x".repeat(70_000)})];
        let whole = json_table_in(Look::default(), &rows, &["name"]);
        assert_eq!((whole.matches('x').count(), whole.contains('…')), (70_000, false));
        let long = "ö".repeat(1 << 20);
        assert_eq!((beginning(&long, 10).chars().count(), beginning("Größe", 2)), (144, "Größe"));
        let look = Look { width: Some(80), ..Look::default() };
        let cut = json_table_in(look, &[json!({"name": long})], &["name"]);
        assert!(cut.lines().count() == 5 && cut.lines().all(|line| line.chars().count() == 80), "{cut}");
    }

    #[test]
    fn columns_without_a_place_are_named() {
        let look = Look { width: Some(40), ..Look::default() };
        let text = json_table_in(look, &[job()], COLUMNS);
        assert!(text.contains("123456") && text.ends_with("no room for: error"), "{text}");
        let narrow = json_table_in(Look { width: Some(3), ..look }, &[job()], COLUMNS);
        assert!(narrow.contains("Größe 1"), "the first one always stands: {narrow}");
    }

    #[test]
    fn colour_is_for_heads_and_trouble_and_only_where_it_is_wanted() {
        let well = json!({"name": "b", "rows": 1, "error": null});
        let cancelled = json!({"name": "c", "rows": 1, "cancelled": true});
        let rows = [job(), well, cancelled];
        let plain = json_table_in(Look::default(), &rows, COLUMNS);
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        let coloured = json_table_in(Look { is_coloured: true, ..Look::default() }, &rows, COLUMNS);
        let codes: Vec<Option<&str>> =
            coloured.lines().map(|line| line.strip_prefix("\u{1b}[").and_then(|rest| rest.split('m').next())).collect();
        assert_eq!(codes, [None, Some("1"), None, Some("31"), None, Some("33"), None], "{coloured:?}");
    }

    #[test]
    fn texts_are_folded_between_words() {
        let look = Look { width: Some(10), ..Look::default() };
        assert_eq!(look.wrapped("one two three, fourteen-letters x"), ["one two", "three,", "fourteen-letters", "x"]);
        assert_eq!(Look::default().wrapped("one two three, four"), ["one two three, four"]);
    }
}
