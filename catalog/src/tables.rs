//! A lake's tables: made, and found.

use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::name::TableName;
use crate::table::{Snapshot, Table, TableSpec, create};

impl Lake {
    /// Makes the table unless it is there, and gives it the columns it does not have yet, nullable. A column that is no
    /// longer declared stays, nullable. A column of another type is [`Error::SchemaMismatch`], and so is another split by
    /// days; a new column that readers of Delta would refuse is [`Error::UnfitColumn`]. Several at once end in one table.
    pub async fn create(&self, spec: &TableSpec) -> Result<Table> {
        create(self, spec).await
    }

    /// The table, or [`Error::NoSuchTable`].
    pub async fn table(&self, name: &TableName) -> Result<Table> {
        self.find(name).await?.ok_or_else(|| Error::NoSuchTable(name.clone()))
    }

    /// The table, if there is one.
    pub async fn find(&self, name: &TableName) -> Result<Option<Table>> {
        Ok(self.newest(name).await?.as_ref().map(Table::of))
    }

    /// The newest version of the table, if there is one: one look, for who only reads.
    pub async fn newest(&self, name: &TableName) -> Result<Option<Snapshot>> {
        if self.cache().newest(name).is_none() && !self.has_log(name).await? {
            return Ok(None);
        }
        Snapshot::newest(self, name).await.map(Some)
    }

    /// [`Lake::newest`], or [`Error::NoSuchTable`].
    pub async fn snapshot(&self, name: &TableName) -> Result<Snapshot> {
        self.newest(name).await?.ok_or_else(|| Error::NoSuchTable(name.clone()))
    }
}
