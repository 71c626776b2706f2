//! Downloads against a server on loopback that serves well, breaks off, stalls or lies.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use sinterlm_data::{DataError, Hub, HubCopy, HubFile};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server does to one GET request.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Sends so many bytes of what was asked for, then closes.
    BreakAfter(usize),
    /// Sends so many bytes, then nothing for a long time.
    StallAfter(usize),
    /// Sends everything from the start whatever the range.
    IgnoreRange,
    /// States a length one too long, and sends that.
    TooLong,
    /// States a length one too short, and sends that.
    TooShort,
    /// Sends one byte too many without stating a length.
    TooLongUnstated,
    /// Sends the right number of wrong bytes.
    WrongBytes,
    /// Answers with a status alone.
    Status(u16),
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// A Hub of one file.
struct Server {
    port: u16,
    /// What was asked for: method and range.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Acts in order, one for each GET; serves well once they are used up.
    fn start(content: Vec<u8>, etag: String, acts: &[Act]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let acts = Arc::new(Mutex::new(VecDeque::from(acts.to_vec())));
        let (log, content) = (Arc::clone(&requests), Arc::new(content));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, acts, content, etag) = (
                    Arc::clone(&log),
                    Arc::clone(&acts),
                    Arc::clone(&content),
                    etag.clone(),
                );
                // A client that hangs up in the middle is part of the tests.
                thread::spawn(move || answer(stream.unwrap(), &content, &etag, &log, &acts).ok());
            }
        });
        Self { port, requests }
    }

    fn large(acts: &[Act]) -> (Self, Vec<u8>) {
        let content: Vec<u8> = (0..300_000_u32)
            .map(|n| (n.wrapping_mul(n) >> 7) as u8)
            .collect();
        let etag = sha256(&content);
        (Self::start(content.clone(), etag, acts), content)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(
    mut stream: TcpStream,
    content: &[u8],
    etag: &str,
    log: &Mutex<Vec<String>>,
    acts: &Mutex<VecDeque<Act>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let Some(first) = lines.next() else {
        return Ok(()); // a probe: connected and gone
    };
    let first = first?;
    let mut range = None;
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("range: ") {
            range = Some(value.to_owned());
        }
    }
    let (method, path) = first.split_once(' ').unwrap();
    log.lock()
        .unwrap()
        .push(format!("{method} {}", range.as_deref().unwrap_or("all")));
    let path = path.trim_end_matches(" HTTP/1.1");
    if !path.contains("owner/texts/resolve/main/") && !path.contains(COMMIT) {
        return write!(
            stream,
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
    let size = content.len();
    if method == "HEAD" {
        return if etag.len() == 64 {
            // Large files: the answers lie beside a redirect to another server, never asked.
            write!(
                stream,
                "HTTP/1.1 302 Found\r\nx-repo-commit: {COMMIT}\r\nx-linked-etag: \"{etag}\"\r\nx-linked-size: {size}\r\nlocation: http://127.0.0.1:9/storage\r\ncontent-length: 7\r\nconnection: close\r\n\r\n"
            )
        } else if path.starts_with("/api/") {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nx-repo-commit: {COMMIT}\r\netag: W/\"{etag}\"\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n"
            )
        } else {
            write!(
                stream,
                "HTTP/1.1 307 Temporary Redirect\r\nx-repo-commit: {COMMIT}\r\nlocation: /api/resolve-cache/{COMMIT}/f\r\ncontent-length: 9\r\nconnection: close\r\n\r\n"
            )
        };
    }
    let act = acts.lock().unwrap().pop_front();
    let start = match (act, &range) {
        (Some(Act::IgnoreRange), _) | (_, None) => 0,
        (_, Some(range)) => range
            .trim_start_matches("bytes=")
            .trim_end_matches('-')
            .parse()
            .unwrap(),
    };
    let mut body = content[start..].to_vec();
    let mut length = format!("content-length: {}\r\n", body.len());
    match act {
        Some(Act::Status(status)) => {
            return write!(
                stream,
                "HTTP/1.1 {status} Status\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
        Some(Act::TooLong) => {
            body.push(0);
            length = format!("content-length: {}\r\n", body.len());
        }
        Some(Act::TooShort) => {
            body.pop();
            length = format!("content-length: {}\r\n", body.len());
        }
        Some(Act::TooLongUnstated) => {
            body.push(0);
            length = String::new();
        }
        Some(Act::WrongBytes) => body[0] ^= 1,
        _ => {}
    }
    let status = if start > 0 {
        format!(
            "206 Partial Content\r\ncontent-range: bytes {start}-{}/{size}",
            size - 1
        )
    } else {
        "200 OK".to_owned()
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{length}connection: close\r\n\r\n"
    )?;
    match act {
        Some(Act::BreakAfter(count)) => stream.write_all(&body[..count]),
        Some(Act::StallAfter(count)) => {
            stream.write_all(&body[..count])?;
            thread::sleep(Duration::from_secs(20));
            Ok(())
        }
        _ => stream.write_all(&body),
    }
}

fn file() -> HubFile {
    HubFile::dataset("owner/texts", "sub/a file.txt")
}

fn hub(server: &Server, cache: &TempDir) -> Hub {
    Hub {
        endpoint: format!("http://127.0.0.1:{}", server.port),
        cache_dir: cache.path().to_owned(),
        stall_timeout: Duration::from_millis(1500),
        // Whatever the environment says: loopback is no network.
        is_offline: false,
        ..Hub::from_env(false)
    }
}

fn fetch(hub: &Hub) -> Result<HubCopy, DataError> {
    hub.fetch(&file(), &mut |_, _| ())
}

/// All files below the cache folder that hold bytes of a download.
fn blobs(cache: &TempDir) -> Vec<PathBuf> {
    let folder = cache.path().join("datasets--owner--texts/blobs");
    fs::read_dir(folder).map_or(Vec::new(), |items| {
        items.map(|item| item.unwrap().path()).collect()
    })
}

#[test]
fn a_file_is_downloaded_once_and_found_in_the_cache_again() {
    let (server, content) = Server::large(&[]);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server, &cache);
    assert_eq!(hub.cached(&file()), None);
    let mut seen = Vec::new();
    let copy = hub
        .fetch(&file(), &mut |done, total| seen.push((done, total)))
        .unwrap();
    assert!(fs::read(&copy.path).unwrap() == content);
    assert_eq!(copy.commit, COMMIT);
    let expected = format!("datasets--owner--texts/snapshots/{COMMIT}/sub/a file.txt");
    assert_eq!(copy.path, cache.path().join(expected));
    assert!(seen.is_sorted() && seen[0] == (0, 300_000));
    assert_eq!(*seen.last().unwrap(), (300_000, 300_000));
    assert_eq!(server.requests(), ["HEAD all", "GET all"]);

    let offline = Hub {
        is_offline: true,
        ..hub
    };
    assert_eq!(
        offline
            .fetch(&file(), &mut |_, _| panic!("no transfer"))
            .unwrap(),
        copy
    );
    let pinned = HubFile {
        revision: COMMIT.to_owned(),
        ..file()
    };
    assert_eq!(offline.cached(&pinned), Some(copy));
    assert_eq!(server.requests().len(), 2);
    assert_eq!(blobs(&cache).len(), 1, "nothing but the blob is left");
}

#[test]
fn small_files_behind_a_relative_redirect_are_checked_by_their_git_hash() {
    // `printf 'hello\n' | git hash-object --stdin`
    let etag = "ce013625030ba8dba906f756967f9e9ca394464a";
    let server = Server::start(b"hello\n".to_vec(), etag.to_owned(), &[]);
    let cache = tempfile::tempdir().unwrap();
    let copy = fetch(&hub(&server, &cache)).unwrap();
    assert_eq!(fs::read_to_string(copy.path).unwrap(), "hello\n");

    let server = Server::start(b"hallo\n".to_vec(), etag.to_owned(), &[]);
    let cache = tempfile::tempdir().unwrap();
    assert!(matches!(
        fetch(&hub(&server, &cache)),
        Err(DataError::HubCorrupt { .. })
    ));
}

#[test]
fn a_broken_transfer_goes_on_where_it_stopped() {
    let acts = [
        Act::BreakAfter(100_000),
        Act::Status(503),
        Act::BreakAfter(50_000),
    ];
    let (server, content) = Server::large(&acts);
    let cache = tempfile::tempdir().unwrap();
    let copy = fetch(&hub(&server, &cache)).unwrap();
    assert!(fs::read(copy.path).unwrap() == content);
    assert_eq!(
        server.requests(),
        [
            "HEAD all",
            "GET all",
            "GET bytes=100000-",
            "GET bytes=100000-",
            "GET bytes=150000-"
        ]
    );
}

#[test]
fn a_later_run_goes_on_where_the_last_one_was_given_up() {
    let (server, content) = Server::large(&[Act::BreakAfter(1000), Act::Status(500)]);
    let cache = tempfile::tempdir().unwrap();
    let hasty = Hub {
        max_attempts: 2,
        ..hub(&server, &cache)
    };
    let error = fetch(&hasty).unwrap_err();
    assert!(
        matches!(error, DataError::HubTransfer { attempts: 2, .. }),
        "{error}"
    );
    assert_eq!(hasty.cached(&file()), None);
    let copy = fetch(&hasty).unwrap();
    assert!(fs::read(copy.path).unwrap() == content);
    assert_eq!(server.requests().last().unwrap(), "GET bytes=1000-");
}

#[test]
fn a_stalled_transfer_times_out_and_goes_on() {
    let (server, content) = Server::large(&[Act::StallAfter(200_000)]);
    let cache = tempfile::tempdir().unwrap();
    let impatient = Hub {
        stall_timeout: Duration::from_millis(300),
        ..hub(&server, &cache)
    };
    let begin = Instant::now();
    let copy = fetch(&impatient).unwrap();
    assert!(fs::read(copy.path).unwrap() == content);
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert_eq!(server.requests()[2], "GET bytes=200000-");
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let (server, content) = Server::large(&[Act::BreakAfter(70_000), Act::IgnoreRange]);
    let cache = tempfile::tempdir().unwrap();
    let copy = fetch(&hub(&server, &cache)).unwrap();
    assert!(fs::read(copy.path).unwrap() == content);
}

#[test]
fn a_server_that_always_breaks_off_at_the_same_place_is_given_up() {
    let acts: Vec<_> = [[Act::BreakAfter(10), Act::Status(416)]; 8].concat();
    let (server, _) = Server::large(&acts);
    let cache = tempfile::tempdir().unwrap();
    assert!(matches!(
        fetch(&hub(&server, &cache)),
        Err(DataError::HubTransfer { .. })
    ));
}

#[test]
fn a_lie_about_length_or_content_is_told_and_nothing_is_kept() {
    for (act, sent) in [
        (Act::TooLong, 300_001),
        (Act::TooLongUnstated, 300_001),
        (Act::TooShort, 299_999),
    ] {
        let (server, _) = Server::large(&[act]);
        let cache = tempfile::tempdir().unwrap();
        let error = fetch(&hub(&server, &cache)).unwrap_err();
        assert!(
            matches!(error, DataError::HubAnswer { .. }),
            "{act:?}: {error}"
        );
        let lie = format!("announced 300000 bytes and sends {sent}");
        assert!(error.to_string().contains(&lie), "{error}");
        assert_eq!(blobs(&cache), [] as [PathBuf; 0], "{act:?}");
    }
    let (server, content) = Server::large(&[Act::WrongBytes]);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server, &cache);
    assert!(matches!(fetch(&hub), Err(DataError::HubCorrupt { .. })));
    assert_eq!(blobs(&cache), [] as [PathBuf; 0]);
    assert!(
        fs::read(fetch(&hub).unwrap().path).unwrap() == content,
        "the next run succeeds"
    );
}

#[test]
fn a_server_that_is_no_hub_is_told() {
    let server = Server::start(b"hello\n".to_vec(), "not-a-hash".to_owned(), &[]);
    let cache = tempfile::tempdir().unwrap();
    let error = fetch(&hub(&server, &cache)).unwrap_err().to_string();
    assert!(
        error.contains("the server names no SHA-256 or Git hash of the file"),
        "{error}"
    );
}

#[test]
fn more_than_the_limit_is_not_downloaded() {
    let (server, _) = Server::large(&[]);
    let cache = tempfile::tempdir().unwrap();
    let small = HubFile {
        max_bytes: Some(299_999),
        ..file()
    };
    let error = hub(&server, &cache)
        .fetch(&small, &mut |_, _| ())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "datasets/owner/texts@main/sub/a file.txt: 300000 bytes to download, the limit is 299999; raise data.max_download_bytes or give a local file"
    );
    assert_eq!(server.requests(), ["HEAD all"]);
}

#[test]
fn unknown_files_and_impossible_names_are_refused() {
    let (server, _) = Server::large(&[]);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server, &cache);
    let absent = HubFile::dataset("owner/other", "f");
    let error = hub.fetch(&absent, &mut |_, _| ()).unwrap_err();
    assert!(
        matches!(error, DataError::HubRefused { status: 404, .. }),
        "{error}"
    );
    for file in ["../f", "/f", "a//b", "a\\b", ""] {
        let file = HubFile::dataset("owner/texts", file);
        let error = hub.fetch(&file, &mut |_, _| ()).unwrap_err();
        assert!(
            matches!(error, DataError::HubName { what: "file", .. }),
            "{error}"
        );
        assert_eq!(hub.cached(&file), None);
    }
}

#[test]
fn two_downloads_at_once_share_one_transfer() {
    let (server, content) = Server::large(&[Act::BreakAfter(150_000)]);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server, &cache);
    let copies: Vec<_> = thread::scope(|scope| {
        let runs = [(); 2].map(|()| scope.spawn(|| fetch(&hub).unwrap()));
        runs.map(|run| run.join().unwrap()).into()
    });
    assert_eq!(copies[0], copies[1]);
    assert!(fs::read(&copies[0].path).unwrap() == content);
    let gets = server
        .requests()
        .iter()
        .filter(|request| request.starts_with("GET"))
        .count();
    assert_eq!(gets, 2);
    assert_eq!(blobs(&cache).len(), 1);
}

#[test]
fn only_an_open_port_is_reachable() {
    let (server, _) = Server::large(&[]);
    let cache = tempfile::tempdir().unwrap();
    let open = hub(&server, &cache);
    assert!(open.is_reachable());
    assert!(
        !Hub {
            is_offline: true,
            ..open.clone()
        }
        .is_reachable()
    );
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let endpoint = format!("http://127.0.0.1:{closed}");
    assert!(
        !Hub {
            endpoint,
            ..open.clone()
        }
        .is_reachable()
    );
    assert!(
        !Hub {
            endpoint: "no address".to_owned(),
            ..open
        }
        .is_reachable()
    );
}
