//! A door to a server that can be slammed at a chosen moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// COMMIT as a client of Postgres sends it.
pub(crate) const POSTGRES_COMMIT: &[u8] = b"Q\0\0\0\x0bcommit\0";

/// When the connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never hears of the COMMIT.
    Before,
    /// It does it, and its reply is lost.
    After,
}

/// A proxy that cuts `times` connections where they send `last`, once they have written a watermark.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    pub(crate) fired: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn start(server: u16, last: &'static [u8], cut: Cut, times: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fired = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&fired);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    let _ = forward(client, server, last, cut, times, &count).await;
                });
            }
        });
        Self { port, fired }
    }
}

async fn forward(
    mut client: TcpStream,
    mut server: TcpStream,
    last: &[u8],
    cut: Cut,
    times: usize,
    fired: &AtomicUsize,
) -> std::io::Result<()> {
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    // The watermark is written just before: only a COMMIT after it is the one of the change.
    let mut wrote = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                wrote |= up[..read].windows(11).any(|it| it == b"_onggi_sync") && up[..read].windows(6).any(|it| it == b"insert" || it == b"update");
                if wrote && up[..read].windows(last.len()).any(|it| it == last) && fired.load(Ordering::SeqCst) < times {
                    fired.fetch_add(1, Ordering::SeqCst);
                    if cut == Cut::After {
                        server.write_all(&up[..read]).await?;
                        let _ = server.read(&mut down).await?;
                    }
                    return Ok(());
                }
                server.write_all(&up[..read]).await?;
            }
            read = server.read(&mut down) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                client.write_all(&down[..read]).await?;
            }
        }
    }
}
