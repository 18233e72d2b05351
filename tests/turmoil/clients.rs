//! This is who uses the nodes in a run: clients that read and write values, one that raises a
//! number, one that changes the map, and one that only looks. None of them trusts a clock.

use crate::chance;
use crate::node::CLIENT_PORT;
use crate::wire::Dialler;
use hyper::Method;
use soros_tests::http::{Answer, Http, NoAnswer};
use soros_tests::load::{BUCKET, is_found_or_absent, read, values};
use soros_tests::oracle::Oracle;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// How many keys the clients share.
const KEYS: u64 = 8;
/// The bytes of a large value: more than a stream's window.
const MUCH_BYTES: usize = 3 << 20;
/// How long a client that was not answered as hoped waits.
const REST: Duration = Duration::from_millis(50);
/// How long a request takes at most: as the settings say, and the way there and back.
const ANSWERED_WITHIN: Duration = Duration::from_millis(2_100);
/// How long a client thinks at most between two requests, in milliseconds.
const THINK_MILLIS_MAX: u64 = 100;
/// The bucket of the number, where the last writer wins.
const NUMBERS: &str = "/v1/kv/default/number";

/// What the clients of a run share with whoever harms the nodes meanwhile.
#[derive(Default)]
pub(crate) struct Stage {
    /// The cluster serves, and the clients are at work.
    pub(crate) begun: AtomicBool,
    /// No harm goes on any more: it is time to end.
    pub(crate) calm: AtomicBool,
    /// What was written, and seen.
    pub(crate) oracle: Oracle,
    told: Mutex<Told>,
}

/// What clients were told.
#[derive(Default)]
pub(crate) struct Told {
    /// How many answers were as hoped, and the codes of the others.
    pub(crate) answers: BTreeMap<String, u64>,
    /// The buckets whose making was acknowledged.
    pub(crate) buckets: BTreeSet<String>,
    /// The greatest number that was acknowledged.
    pub(crate) number: u64,
    /// Who led in each term.
    pub(crate) leaders: BTreeMap<u64, String>,
    /// The last epoch of each node.
    epochs: BTreeMap<String, u64>,
    /// What must not be.
    pub(crate) faults: Vec<String>,
}

impl Stage {
    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self) -> bool {
        !self.calm.load(Ordering::Relaxed)
    }

    fn count(&self, what: String) {
        *self.told().answers.entry(what).or_default() += 1;
    }
}

/// A client of the node `name`.
pub(crate) fn http(name: &str) -> Http {
    Http::over(Arc::new(Dialler), &format!("{name}:{CLIENT_PORT}"))
}

/// Uses the nodes `names` until it is calm.
pub(crate) async fn play(stage: &Arc<Stage>, names: &[String], seed: u64) {
    let mut clients = JoinSet::new();
    for (number, name) in names.iter().enumerate() {
        let client = Client {
            stage: Arc::clone(stage),
            name: name.clone(),
            http: http(name),
            random: seed ^ (number as u64) << 32,
        };
        clients.spawn(client.write_values());
        clients.spawn(read_number(Arc::clone(stage), name.clone()));
    }
    clients.spawn(raise_number(Arc::clone(stage), names.to_vec()));
    clients.spawn(make_buckets(Arc::clone(stage), names.to_vec()));
    if seed.is_multiple_of(3) {
        clients.spawn(write_much(Arc::clone(stage), names.to_vec()));
    }
    clients.spawn(look(Arc::clone(stage), names.to_vec()));
    while let Some(ended) = clients.join_next().await {
        ended.expect("a client");
    }
}

/// Waits until a request to `name` is answered as hoped.
pub(crate) async fn insist(name: &str, method: &Method, path: &str, body: &'static str) -> Answer {
    loop {
        let answer = http(name).send(method.clone(), path, &[], body).await;
        match answer {
            Ok(answer) if answer.status.is_success() => return answer,
            _ => sleep(REST).await,
        }
    }
}

struct Client {
    stage: Arc<Stage>,
    name: String,
    http: Http,
    random: u64,
}

impl Client {
    async fn write_values(mut self) {
        let mut count = 0_u64;
        while self.stage.goes_on() {
            count += 1;
            if self.read_and_write(count).await.is_err() {
                self.stage.count("no answer".to_owned());
                self.http = http(&self.name);
                sleep(REST).await;
            }
            let pause = self.below(THINK_MILLIS_MAX);
            sleep(Duration::from_millis(pause)).await;
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        let random;
        (random, self.random) = chance::next(self.random);
        random % limit
    }

    /// Reads a key and writes to it a value that has seen what was read. A node that lives answers
    /// within its time, whatever the others do.
    async fn read_and_write(&mut self, count: u64) -> Result<(), NoAnswer> {
        let begun = Instant::now();
        let done = self.exchange(count).await;
        let took = begun.elapsed();
        // A node without power takes no connection, and nobody is told.
        if done != Err(NoAnswer::NotSent) && ANSWERED_WITHIN * 2 < took {
            let fault = format!("LATE {}: {done:?} after {took:?}", self.name);
            self.stage.told().faults.push(fault);
        }
        done
    }

    async fn exchange(&mut self, count: u64) -> Result<(), NoAnswer> {
        let key = format!("k{}", self.below(KEYS));
        let found = read(&mut self.http, &key).await?;
        if !is_found_or_absent(&found) {
            self.problem("read", &found);
            return Ok(());
        }
        let (seen, context) = (values(&found), found.header("soros-context").to_owned());
        let value = format!("{}-{count}", self.name);
        self.stage.oracle.sends(&key, &value, &seen);
        let path = format!("/v1/kv/{BUCKET}/{key}");
        let headers = [("soros-context", context.as_str())];
        let answer = self.http.put(&path, &headers, value.clone()).await?;
        if answer.status.is_success() {
            self.stage.oracle.acknowledged(&key, &value);
            self.stage.count("written".to_owned());
            tracing::info!(target: "soros_client", "{key}={value} is acknowledged");
            return Ok(());
        }
        self.problem("write", &answer);
        Ok(())
    }

    fn problem(&mut self, what: &str, answer: &Answer) {
        let (status, code) = (answer.status.as_u16(), answer.code());
        self.stage.count(format!("{what} {status} {code}"));
    }
}

/// Raises a number, at one node after the other; what is in doubt is passed over.
async fn raise_number(stage: Arc<Stage>, names: Vec<String>) {
    let mut number = 0_u64;
    for name in names.iter().cycle() {
        if !stage.goes_on() {
            return;
        }
        number += 1;
        let written = http(name).put(NUMBERS, &[], number.to_string()).await;
        if written.is_ok_and(|answer| answer.status.is_success()) {
            stage.told().number = number;
        }
        sleep(REST).await;
    }
}

/// Reads the number: never an older one than was acknowledged before the read began.
async fn read_number(stage: Arc<Stage>, name: String) {
    let mut http_to_node = http(&name);
    while stage.goes_on() {
        let least = stage.told().number;
        match http_to_node.get(NUMBERS).await {
            Ok(answer) if answer.status.is_success() => {
                let found = answer.text().parse().unwrap_or(0_u64);
                if found < least {
                    let fault = format!("STALE {name}: {found} after {least} was acknowledged");
                    stage.told().faults.push(fault);
                }
                stage.count("number read".to_owned());
            }
            Ok(_) => {}
            Err(_) => http_to_node = http(&name),
        }
        sleep(REST).await;
    }
}

/// Writes values that fill what links and streams take at a time, and reads them: never another.
async fn write_much(stage: Arc<Stage>, names: Vec<String>) {
    let path = "/v1/kv/default/much";
    for (number, name) in names.iter().cycle().enumerate() {
        if !stage.goes_on() {
            return;
        }
        let mut http = http(name);
        let value = vec![u8::try_from(number % 251).unwrap_or(0); MUCH_BYTES];
        match http.put(path, &[], value).await {
            Ok(answer) if answer.status.is_success() => stage.count("much written".to_owned()),
            Ok(answer) => stage.count(format!("much {} {}", answer.status, answer.code())),
            Err(_) => stage.count("much no answer".to_owned()),
        }
        if let Ok(answer) = http.get(path).await
            && answer.status.is_success()
            && (answer.body.len() != MUCH_BYTES || answer.body[0] != answer.body[MUCH_BYTES - 1])
        {
            let fault = format!("TORN {name}: {} bytes", answer.body.len());
            stage.told().faults.push(fault);
        }
        sleep(REST * 4).await;
    }
}

/// Makes buckets, each asked for at one node after the other.
async fn make_buckets(stage: Arc<Stage>, names: Vec<String>) {
    for (number, name) in names.iter().cycle().enumerate() {
        if !stage.goes_on() {
            return;
        }
        let bucket = format!("b{number}");
        let path = format!("/v1/buckets/{bucket}");
        match http(name).put(&path, &[], r#"{"resolver":null}"#).await {
            Ok(answer) if answer.status.is_success() => {
                tracing::info!(target: "soros_client", "{bucket} is made");
                stage.told().buckets.insert(bucket);
            }
            Ok(answer) => stage.count(format!("bucket {} {}", answer.status, answer.code())),
            Err(_) => stage.count("bucket no answer".to_owned()),
        }
        sleep(REST * 4).await;
    }
}

/// Looks at every node: no term has two leaders, and no node goes back to an older map.
async fn look(stage: Arc<Stage>, names: Vec<String>) {
    for name in names.iter().cycle() {
        if !stage.goes_on() {
            return;
        }
        if let Ok(answer) = http(name).get("/v1/cluster").await
            && answer.status.is_success()
        {
            let cluster = answer.json();
            let authority = &cluster["authority"];
            let leader = authority["leader"].as_str().map(ToOwned::to_owned);
            stage.told().see(
                name,
                cluster["epoch"].as_u64().unwrap_or_default(),
                authority["term"].as_u64().unwrap_or_default(),
                leader,
            );
        }
        sleep(REST).await;
    }
}

impl Told {
    /// A node shows an epoch, a term and who leads.
    fn see(&mut self, name: &str, epoch: u64, term: u64, leader: Option<String>) {
        let last = self.epochs.insert(name.to_owned(), epoch).unwrap_or(0);
        if epoch < last {
            let fault = format!("BACK {name}: epoch {epoch} after {last}");
            self.faults.push(fault);
        }
        let Some(leader) = leader else { return };
        let known = self.leaders.entry(term).or_insert_with(|| leader.clone());
        if *known != leader {
            let fault = format!("TWO LEADERS {known} and {leader} in term {term}");
            self.faults.push(fault);
        }
    }
}
