//! Does the store create an object once?
//!
//! Some servers take `If-None-Match: *` and ignore it, others look and then write without holding the
//! place. In both, two writers can win one commit, and the rows of one of them are gone. So before a
//! lake is first used, a key is created twice, one after the other, and another one by several at
//! once; what was written must be there to be read and listed at once.
//!
//! That it was is kept in `_onggi/probe.json` with the address it was found at: a lake that is copied
//! to another server is asked about again there.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};

use crate::id::fresh_bits;
use crate::path;

/// How many create one key at once.
const AT_ONCE: usize = 8;

/// `_onggi/probe.json`
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Proof {
    /// The server and the bucket that it holds for.
    at: String,
}

/// Why a place can't be a lake's.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It could not be asked.
    Store(Error),
    /// It does not do what commits need.
    Unfit(String),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// Makes sure that the store creates an object once below `prefix`; `at` names its address.
pub(crate) async fn prove(store: &dyn ObjectStore, prefix: &Path, at: &str) -> Result<(), Failed> {
    let below = |at: &path::ObjectPath| -> Path { prefix.parts().chain(at.as_path().parts()).collect() };
    let kept = below(&path::probe());
    match read(store, &kept).await {
        Ok(bytes) if serde_json::from_slice(&bytes).is_ok_and(|proof: Proof| proof.at == at) => return Ok(()),
        // A bucket that is not there is "not found" too; the first write tells them apart.
        Ok(_) | Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let keys: Vec<Path> = (0..2).map(|_| below(&path::probe_key(fresh_bits()))).collect();
    let probed = ask(store, &below(&path::probe_keys()), &keys).await;
    for key in &keys {
        // A key that stays behind is in nobody's way.
        if let Err(error) = store.delete(key).await {
            tracing::debug!(%key, %error, "a key of the probe stays behind");
        }
    }
    probed?;
    let proof = serde_json::to_vec(&Proof { at: at.to_owned() }).unwrap_or_default();
    store.put(&kept, proof.into()).await?;
    Ok(())
}

async fn ask(store: &dyn ObjectStore, folder: &Path, keys: &[Path]) -> Result<(), Failed> {
    let [first, second] = keys else { return Ok(()) };
    if !create(store, first, "first").await? {
        return Err(Failed::Unfit("it says that an object exists which nobody wrote".into()));
    }
    if create(store, first, "second").await? {
        let ignores = "it lets two writers create the same object (it ignores `If-None-Match: *`)";
        return Err(Failed::Unfit(ignores.into()));
    }
    match read(store, first).await {
        Ok(found) if found == "first" => {}
        Ok(_) => return Err(Failed::Unfit("a create that it refused has changed the object".into())),
        Err(Error::NotFound { .. }) => {
            return Err(Failed::Unfit("what was written to it can't be read at once".into()));
        }
        Err(error) => return Err(error.into()),
    }
    let listed: Vec<_> = store.list(Some(folder)).map_ok(|meta| meta.location).try_collect().await?;
    if !listed.contains(first) {
        return Err(Failed::Unfit("what was written to it is not listed at once".into()));
    }
    let writers: Vec<String> = (0..AT_ONCE).map(|n| n.to_string()).collect();
    let creates = writers.iter().map(|text| create(store, second, text));
    let won = futures::future::try_join_all(creates).await?.into_iter().filter(|won| *won).count();
    if won != 1 {
        return Err(Failed::Unfit(format!("of {AT_ONCE} writers that create the same object at once {won} win")));
    }
    Ok(())
}

async fn create(store: &dyn ObjectStore, key: &Path, text: &str) -> Result<bool, Error> {
    let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    match store.put_opts(key, PutPayload::from(text.to_owned().into_bytes()), options).await {
        Ok(_) => Ok(true),
        Err(Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn read(store: &dyn ObjectStore, key: &Path) -> Result<Bytes, Error> {
    store.get(key).await?.bytes().await
}
