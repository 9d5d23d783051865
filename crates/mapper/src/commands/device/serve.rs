//! `orbd serve`: an NBD server for an image, in the foreground.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use mapper::device::image::ImageDevice;
use mapper::device::{BlockDevice, Ledger};
use mapper::nbd::{Export, Server, ServerOptions};
use mapper::serving::Signals;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::failure;
use super::give_up::stop;
use super::image_end::close_image;
use super::image_size::ImageSize;
use crate::args::device::Serve;
use crate::exit::{Failure, Outcome};
use crate::location::{Positionals, Wanted, locate};
use crate::output::print_text;
use crate::session::Session;

/// Serves an image until a signal ends it. Once clients can connect, prints where.
pub(crate) async fn run(args: Serve, session: &Session) -> Outcome {
    let mut positionals = Positionals::new(args.specs);
    let location = locate(
        args.image,
        args.snap,
        &mut positionals,
        Wanted::IMAGE_OR_SNAP,
    )?;
    let place = Place::resolve(args.socket, args.tcp)?;
    let options = args
        .lock
        .open_options(args.read_only, location.snap.is_some());
    let image = session.open(&location, options).await?;
    let description = image.full_name().to_owned();
    let name = args.export_name.unwrap_or_else(|| image.name().to_owned());
    let device = ImageDevice::new(image.clone()).map_err(|error| {
        Failure::rbd("cannot serve for writing", &error)
            .hint("or serve it for reading only with --read-only")
    })?;
    args.lock.settle(&image, "serve failed").await?;
    let device = Arc::new(Ledger::new(Arc::new(device)));
    let export = Export {
        name,
        description,
        is_read_only: args.read_only,
        device: Arc::clone(&device),
    };
    // Clients that come later are told the size of then.
    let _size = ImageSize::follow(&image);
    let server = Arc::new(Server::new(vec![export], ServerOptions::default()));
    let mut signals = Signals::new().map_err(|error| failure("serve failed", &error))?;
    let shutdown = CancellationToken::new();
    let serving = place.serve(server, shutdown.clone());
    let patience = stop(false, args.stop_timeout).patience;
    until_stopped(serving, &shutdown, &device, &mut signals, patience).await?;
    close_image(&image, &device.traffic().dropped).await
}

/// Serves until a signal says to stop. Then the requests under way are answered, unless that takes longer than `patience` or
/// there is a second signal: those that are left fail.
async fn until_stopped<D: BlockDevice>(
    serving: impl Future<Output = Outcome>,
    shutdown: &CancellationToken,
    device: &Ledger<D>,
    signals: &mut Signals,
    patience: Duration,
) -> Outcome {
    let mut serving = pin!(serving);
    let order = tokio::select! {
        served = &mut serving => return served,
        order = signals.next() => order,
    };
    shutdown.cancel();
    let patience = if order.is_forced {
        Duration::ZERO
    } else {
        patience
    };
    tokio::select! {
        served = &mut serving => return served,
        _ = signals.next() => {}
        () = tokio::time::sleep(patience) => {}
    }
    device.abandon_with_buffers();
    serving.await
}

/// Where clients come in.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Socket(PathBuf),
    Tcp(String),
}

impl Place {
    fn resolve(socket: Option<PathBuf>, tcp: Option<String>) -> Outcome<Self> {
        match (socket, tcp) {
            (Some(path), None) => Ok(Self::Socket(path)),
            (None, Some(address))
                if address.parse::<SocketAddr>().is_err() && !address.contains(':') =>
            {
                Ok(Self::Tcp(format!("{address}:{NBD_PORT}")))
            }
            (None, Some(address)) => Ok(Self::Tcp(address)),
            _ => Err(Failure::invalid(
                "serve requires either --socket PATH or --tcp ADDRESS",
            )),
        }
    }

    async fn serve(
        self,
        server: Arc<Server<Ledger<ImageDevice>>>,
        stop: CancellationToken,
    ) -> Outcome {
        match self {
            Self::Socket(path) => {
                let failed = |error: io::Error| {
                    Failure::io(format_args!("cannot listen on {}", path.display()), &error)
                };
                remove_dead_socket(&path).await.map_err(failed)?;
                let listener = UnixListener::bind(&path).map_err(failed)?;
                let removed = RemovedOnDrop(path.clone());
                print_text(&format!("nbd+unix:///?socket={}\n", path.display()))?;
                server.serve(listener, stop).await;
                drop(removed);
            }
            Self::Tcp(address) => {
                let failed = |error: io::Error| {
                    Failure::io(format_args!("cannot listen on {address}"), &error)
                };
                let listener = TcpListener::bind(&address).await.map_err(failed)?;
                let bound = listener.local_addr().map_err(failed)?;
                print_text(&format!("nbd://{bound}\n"))?;
                server.serve(listener, stop).await;
            }
        }
        Ok(())
    }
}

/// Removes a socket that a server left behind which is no longer there.
async fn remove_dead_socket(path: &Path) -> io::Result<()> {
    let is_socket = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type().is_socket(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if is_socket
        && let Err(error) = UnixStream::connect(path).await
        && error.kind() == io::ErrorKind::ConnectionRefused
    {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

struct RemovedOnDrop(PathBuf);

impl Drop for RemovedOnDrop {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "the socket stays");
        }
    }
}

/// The port of NBD.
const NBD_PORT: u16 = 10809;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_exactly_one_place() {
        let tcp = |text: &str| Place::resolve(None, Some(text.to_owned())).unwrap();
        assert_eq!(
            tcp("127.0.0.1"),
            Place::Tcp(String::from("127.0.0.1:10809"))
        );
        assert_eq!(tcp("127.0.0.1:0"), Place::Tcp(String::from("127.0.0.1:0")));
        assert_eq!(tcp("[::1]:5"), Place::Tcp(String::from("[::1]:5")));
        let both = Place::resolve(Some(PathBuf::from("s")), Some(String::from("t")));
        assert_eq!(both.unwrap_err().status(), 22);
        assert!(Place::resolve(None, None).is_err());
    }

    #[tokio::test]
    async fn sockets_in_use_and_other_files_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        remove_dead_socket(&path).await.unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        remove_dead_socket(&path).await.unwrap();
        assert!(path.exists());
        drop(listener);
        remove_dead_socket(&path).await.unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "precious").unwrap();
        remove_dead_socket(&path).await.unwrap();
        assert!(path.exists());
    }
}
