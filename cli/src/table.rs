//! Columns that line up on a terminal, also where characters are two cells wide, as Korean ones are.

use console::measure_text_width;

use crate::out;

/// Rows of cells with their columns aligned to the left, two spaces apart; numbers to the right. A cell is one line.
pub(crate) fn align(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| out::one_line(cell)).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let pad = " ".repeat(width - measure_text_width(cell));
            if cell.starts_with(|first: char| first.is_ascii_digit())
                && cell.chars().all(|it| it.is_ascii_digit() || ",.%".contains(it))
            {
                line += &pad;
                line += cell;
            } else {
                line += cell;
                line += &pad;
            }
            line += "  ";
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn wide_characters_line_up() {
        let rows = [["국밥", "12"], ["cafe", "3"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(align(&rows), "국밥  12\ncafe   3\n");
    }
}
