//! A column of a serving table, and how its cells travel.

/// How a cell travels, and in which bytes it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellForm {
    /// The text that the server prints.
    Plain,
    /// A number that many texts mean.
    Float,
    /// A document, whose members have no order.
    Json,
    /// Bytes, as hexadecimal digits.
    Hex,
}

/// A column, with its type as the server says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MysqlColumn {
    pub(super) name: String,
    pub(super) is: String,
}

impl MysqlColumn {
    pub(super) fn form(&self) -> CellForm {
        match self.is.as_str() {
            "double" => CellForm::Float,
            "json" => CellForm::Json,
            "longblob" => CellForm::Hex,
            is if is.starts_with("binary") => CellForm::Hex,
            _ => CellForm::Plain,
        }
    }

    pub(super) fn is_number(&self) -> bool {
        self.is.contains("int")
    }

    /// Whether it is a text that an index holds whole.
    pub(super) fn is_indexed_text(&self) -> bool {
        self.is.starts_with("varchar")
    }
}
