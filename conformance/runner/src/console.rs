//! Reading a console, wherever it comes out, by a thread of its own.
//!
//! The channel is short: a target that prints without end is slowed down instead of filling the memory.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::target::Source;

/// Pause before something that had no bytes is asked again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const CHUNK_BYTES: usize = 4096;
const CHUNKS: usize = 64;

/// A console that is read.
pub(crate) struct Console {
    /// Chunks as they come; disconnected at the end.
    pub chunks: Receiver<Vec<u8>>,
    stop: Arc<AtomicBool>,
}

impl Console {
    /// Reads a pipe to its end.
    pub(crate) fn of_pipe(pipe: impl Read + Send + 'static) -> Self {
        Self::start(move |sender, _| copy(pipe, sender))
    }

    /// Reads the file, socket or device at `path`, which may come into being later.
    pub(crate) fn of_path(source: Source, path: &Path) -> Self {
        let path = PathBuf::from(path);
        Self::start(move |sender, stop| {
            loop {
                let is_last = stop.load(Ordering::Relaxed);
                match open(source, &path) {
                    Some(reader) => return follow(reader, source, sender, stop),
                    None if is_last => return,
                    None => thread::sleep(POLL_INTERVAL),
                }
            }
        })
    }

    fn start(read: impl FnOnce(&SyncSender<Vec<u8>>, &AtomicBool) + Send + 'static) -> Self {
        let (sender, chunks) = sync_channel(CHUNKS);
        let stop = Arc::<AtomicBool>::default();
        let is_stopped = Arc::clone(&stop);
        thread::spawn(move || read(&sender, &is_stopped));
        Self { chunks, stop }
    }

    /// The writer has ended: what is there is read, and nothing more is waited for.
    pub(crate) fn writer_ended(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.writer_ended();
    }
}

fn open(source: Source, path: &Path) -> Option<Box<dyn Read + Send>> {
    match source {
        Source::Socket => {
            let stream = UnixStream::connect(path).ok()?;
            stream.set_read_timeout(Some(POLL_INTERVAL)).ok()?;
            Some(Box::new(stream))
        }
        // A terminal must neither become ours nor keep us waiting.
        Source::Device => {
            let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
            Some(Box::new(OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?))
        }
        Source::File | Source::Stdout | Source::Stderr => {
            Some(Box::new(OpenOptions::new().read(true).open(path).ok()?))
        }
    }
}

/// Reads a pipe to its end.
fn copy(mut pipe: impl Read, sender: &SyncSender<Vec<u8>>) {
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        match pipe.read(&mut chunk) {
            Ok(size) if size > 0 => {
                if sender.send(chunk[..size].to_vec()).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Reads what may grow, until `stop` is set and nothing is left, or nobody listens.
fn follow(mut reader: impl Read, source: Source, sender: &SyncSender<Vec<u8>>, stop: &AtomicBool) {
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        // Looked at first: what was written before the end is read after it.
        let is_last = stop.load(Ordering::Relaxed);
        match reader.read(&mut chunk) {
            Ok(0) if source == Source::Socket => return,
            Ok(size) if size > 0 => {
                if sender.send(chunk[..size].to_vec()).is_err() {
                    return;
                }
                continue;
            }
            // Nothing now. A terminal whose other side is not open (yet) fails; that is nothing, too.
            Ok(_) | Err(_) => {}
        }
        if is_last {
            return;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn all(console: &Console) -> Vec<u8> {
        console.chunks.iter().flatten().collect()
    }

    #[test]
    fn a_file_that_comes_late_is_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console");
        let console = Console::of_path(Source::File, &path);
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(b"one ").unwrap();
        assert_eq!(console.chunks.recv_timeout(Duration::from_secs(10)).unwrap(), b"one ");
        file.write_all(b"two").unwrap();
        console.writer_ended();
        assert_eq!(all(&console), b"two");
    }

    #[test]
    fn a_socket_is_connected_to_when_it_listens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let console = Console::of_path(Source::Socket, &path);
        let listener = UnixListener::bind(&path).unwrap();
        listener.accept().unwrap().0.write_all(b"hello").unwrap();
        assert_eq!(all(&console), b"hello");
    }

    #[test]
    fn a_terminal_is_read_without_waiting_for_it() {
        let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let console = Console::of_path(Source::Device, Path::new(&name));
        rustix::io::write(&master, b"line\n").unwrap();
        let seen = console.chunks.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(seen.starts_with(b"line"), "{seen:?}");
        console.writer_ended();
        assert!(all(&console).is_empty());
    }

    #[test]
    fn nothing_is_waited_for_once_the_writer_has_ended() {
        let console = Console::of_path(Source::File, Path::new("/nowhere/console"));
        console.writer_ended();
        assert!(all(&console).is_empty());
    }
}
