//! Models of a Hub on loopback: what is fetched, in which order, for whom, and what is told where a
//! repository cannot be used.

#![allow(clippy::unwrap_used, reason = "unwrap is for tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};
use sinterlm_data::{DataError, Hub, HubCopy, HubModel, HubToken};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a server does beside serving its files.
#[derive(Clone, Debug, Default)]
struct Manners {
    /// Requests without this token are answered with 401.
    token: Option<String>,
    /// The first GET of this file is cut after so many bytes.
    cut: Option<(String, usize)>,
    /// This file is announced with a hash of other bytes.
    wrong_hash: Option<String>,
    /// Where GETs are sent to, as to another server's storage.
    storage: Option<String>,
}

/// A Hub of one repository, `owner/model`, or a storage: it serves whatever path ends in a file name.
struct Server {
    endpoint: String,
    /// Method, file, range, and whether a token came.
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(files: &[(&str, &[u8])], manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let files: BTreeMap<String, Vec<u8>> = files
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()))
            .collect();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (kept, manners) = (Arc::clone(&log), Mutex::new(manners));
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that hangs up is part of the tests.
                let _ = answer(stream.unwrap(), &files, &manners, &kept);
            }
        });
        Self { endpoint, log }
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    manners: &Mutex<Manners>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let Some(first) = lines.next() else {
        return Ok(()); // a probe: connected and gone
    };
    let first = first?;
    let (mut start, mut token) = (0, None);
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap();
        match name.to_lowercase().as_str() {
            "range" => {
                let from = value.trim_start_matches("bytes=").trim_end_matches('-');
                start = from.parse().unwrap();
            }
            "authorization" => token = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let file = path.rsplit('/').next().unwrap().to_owned();
    let from = if start > 0 {
        format!(" from {start}")
    } else {
        String::new()
    };
    let mark = if token.is_some() { " as someone" } else { "" };
    log.lock()
        .unwrap()
        .push(format!("{method} {file}{from}{mark}"));

    let mut manners = manners.lock().unwrap();
    let status = |status: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    };
    let wanted = manners
        .token
        .as_ref()
        .map(|token| format!("Bearer {token}"));
    if wanted.is_some() && wanted != token {
        return stream.write_all(status("401 Unauthorized").as_bytes());
    }
    let known = path.starts_with("/owner/model/resolve/") || path.starts_with("/storage/");
    let Some(bytes) = files.get(&file).filter(|_| known) else {
        return stream.write_all(status("404 Not Found").as_bytes());
    };
    if method == "HEAD" {
        let mut hashed = bytes.clone();
        if manners.wrong_hash.as_ref() == Some(&file) {
            hashed.push(0);
        }
        let etag = Sha256::digest(&hashed)
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let size = bytes.len();
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nx-repo-commit: {COMMIT}\r\netag: \"{etag}\"\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n"
        );
    }
    if let Some(storage) = &manners.storage {
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nlocation: {storage}/storage/{file}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
    }
    let (size, rest) = (bytes.len(), &bytes[start..]);
    let line = if start > 0 {
        format!(
            "206 Partial Content\r\ncontent-range: bytes {start}-{}/{size}",
            size - 1
        )
    } else {
        "200 OK".to_owned()
    };
    write!(
        stream,
        "HTTP/1.1 {line}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        rest.len()
    )?;
    match manners.cut.take_if(|(name, _)| *name == file) {
        Some((_, count)) => stream.write_all(&rest[..count]),
        None => stream.write_all(rest),
    }
}

const INDEX: &[u8] = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors",
    "c": "model-1.safetensors"}}"#;

fn plain() -> Vec<(&'static str, &'static [u8])> {
    vec![
        ("config.json", b"{}"),
        ("tokenizer.json", b"{\"t\": 1}"),
        ("chat_template.jinja", b"{{ x }}"),
        ("model.safetensors", &[7; 15_000]),
    ]
}

fn sharded() -> Vec<(&'static str, &'static [u8])> {
    let mut files = plain();
    files.extend([
        ("model.safetensors.index.json", INDEX),
        ("model-1.safetensors", &[1; 10_000]),
        ("model-2.safetensors", &[2; 12_000]),
    ]);
    files
}

fn hub(server: &Server, cache: &TempDir) -> Hub {
    Hub {
        endpoint: server.endpoint.clone(),
        cache_dir: cache.path().to_owned(),
        stall_timeout: Duration::from_millis(1500),
        // Whatever the environment says: loopback is no network.
        is_offline: false,
        token: None,
        ..Hub::from_env(false)
    }
}

fn fetch(hub: &Hub, model: &str) -> Result<HubCopy, DataError> {
    hub.fetch_model(&model.parse().unwrap(), &mut |_, _, _| ())
}

#[test]
fn a_model_folder_comes_whole_from_one_commit_and_is_not_asked_for_again() {
    let server = Server::start(&plain(), Manners::default());
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server, &cache);
    let model: HubModel = "owner/model".parse().unwrap();
    assert_eq!(hub.cached_model(&model).unwrap(), None);
    let mut seen = BTreeMap::new();
    let copy = hub
        .fetch_model(&model, &mut |file, done, _| {
            seen.insert(file.to_owned(), done);
        })
        .unwrap();
    assert_eq!(copy.commit, COMMIT);
    for (name, bytes) in plain() {
        assert!(fs::read(copy.path.join(name)).unwrap() == bytes, "{name}");
    }
    assert_eq!(seen["model.safetensors"], 15_000);
    let requests = server.requests();
    assert_eq!(requests[..2], ["HEAD config.json", "GET config.json"]);
    assert_eq!(
        requests.last().unwrap(),
        "GET model.safetensors",
        "the weights come last"
    );

    assert_eq!(fetch(&hub, "hub:owner/model").unwrap(), copy);
    let offline = Hub {
        is_offline: true,
        ..hub
    };
    assert_eq!(
        fetch(&offline, &format!("owner/model@{COMMIT}")).unwrap(),
        copy
    );
    assert_eq!(server.requests(), [] as [String; 0]);
}

#[test]
fn shards_are_fetched_in_place_of_one_file_and_a_cut_one_goes_on() {
    let manners = Manners {
        cut: Some(("model-2.safetensors".to_owned(), 4_000)),
        ..Manners::default()
    };
    let server = Server::start(&sharded(), manners);
    let cache = tempfile::tempdir().unwrap();
    let copy = fetch(&hub(&server, &cache), "owner/model").unwrap();
    assert_eq!(
        fs::read(copy.path.join("model-1.safetensors")).unwrap(),
        [1; 10_000]
    );
    assert_eq!(
        fs::read(copy.path.join("model-2.safetensors")).unwrap(),
        [2; 12_000]
    );
    assert!(!copy.path.join("model.safetensors").exists());
    let requests = server.requests();
    assert_eq!(
        requests.last().unwrap(),
        "GET model-2.safetensors from 4000"
    );
    let shards = requests
        .iter()
        .filter(|r| r.starts_with("GET model-1"))
        .count();
    assert_eq!(shards, 1, "a shard of two tensors comes once");
}

#[test]
fn a_model_that_broke_off_is_not_taken_for_whole() {
    let server = Server::start(&sharded()[..6], Manners::default());
    let cache = tempfile::tempdir().unwrap();
    let broken = hub(&server, &cache);
    let error = fetch(&broken, "owner/model").unwrap_err();
    assert!(error.to_string().contains("model-2.safetensors"), "{error}");
    assert_eq!(
        broken
            .cached_model(&"owner/model".parse().unwrap())
            .unwrap(),
        None
    );
    let offline = Hub {
        is_offline: true,
        ..broken
    };
    let error = fetch(&offline, "owner/model").unwrap_err();
    assert!(matches!(error, DataError::HubOffline { .. }), "{error}");

    let server = Server::start(&sharded(), Manners::default());
    let copy = fetch(&hub(&server, &cache), "owner/model").unwrap();
    assert!(copy.path.join("model-2.safetensors").is_file());
    assert!(
        !server
            .requests()
            .contains(&"GET model-1.safetensors".to_owned())
    );
}

#[test]
fn weights_of_another_hash_are_refused_and_deleted() {
    let manners = Manners {
        wrong_hash: Some("model.safetensors".to_owned()),
        ..Manners::default()
    };
    let server = Server::start(&plain(), manners);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server, &cache);
    let error = fetch(&hub, "owner/model").unwrap_err();
    assert!(matches!(error, DataError::HubCorrupt { .. }), "{error}");
    assert_eq!(
        hub.cached_model(&"owner/model".parse().unwrap()).unwrap(),
        None
    );
}

#[test]
fn a_gated_model_needs_a_token_which_no_other_server_sees() {
    let storage = Server::start(&plain(), Manners::default());
    let manners = Manners {
        token: Some("hf_secret".to_owned()),
        storage: Some(storage.endpoint.clone()),
        ..Manners::default()
    };
    let server = Server::start(&plain(), manners);
    let cache = tempfile::tempdir().unwrap();
    let anonymous = hub(&server, &cache);
    let error = fetch(&anonymous, "owner/model").unwrap_err().to_string();
    for words in ["status 401", "gated", "HF_TOKEN"] {
        assert!(error.contains(words), "{error}");
    }
    let known = Hub {
        token: Some(HubToken("hf_secret".to_owned())),
        ..anonymous
    };
    assert!(!format!("{known:?}").contains("secret"));
    let copy = fetch(&known, "owner/model").unwrap();
    assert!(copy.path.join("model.safetensors").is_file());
    let stored = storage.requests();
    assert!(
        stored.contains(&"GET model.safetensors".to_owned()),
        "{stored:?}"
    );
    assert!(
        stored.iter().all(|request| !request.contains("someone")),
        "{stored:?}"
    );
}

#[test]
fn repositories_without_a_model_are_told() {
    let cache = tempfile::tempdir().unwrap();
    let server = Server::start(&plain(), Manners::default());
    let error = fetch(&hub(&server, &cache), "owner/other").unwrap_err();
    assert!(
        matches!(error, DataError::HubRefused { status: 404, .. }),
        "{error}"
    );

    let server = Server::start(&plain()[..3], Manners::default());
    let error = fetch(&hub(&server, &cache), "owner/model").unwrap_err();
    assert!(
        error.to_string().contains("has no weights, none of"),
        "{error}"
    );

    for (index, words) in [
        (&b"[]"[..], "has no `weight_map`"),
        (b"{", "is no JSON"),
        (
            br#"{"weight_map": {"a": "../../x"}}"#,
            "names \"../../x\" as a shard",
        ),
        (br#"{"weight_map": {"a": 3}}"#, "names 3 as a shard"),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let files = [
            ("config.json", &b"{}"[..]),
            ("model.safetensors.index.json", index),
        ];
        let server = Server::start(&files, Manners::default());
        let error = fetch(&hub(&server, &cache), "owner/model").unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn one_file_of_a_repository_can_be_the_model() {
    let server = Server::start(&[("tiny.gguf", &[9; 1000])], Manners::default());
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&server, &cache);
    let copy = fetch(&hub, "hub:owner/model/tiny.gguf").unwrap();
    assert_eq!(fs::read(&copy.path).unwrap(), [9; 1000]);
    let again = hub.cached_model(&"hub:owner/model@main/tiny.gguf".parse().unwrap());
    assert_eq!(again.unwrap(), Some(copy));
}
