use super::*;
use crate::base::clock::ManualClock;
use crate::base::names::SecretRefs;

const REFERENCE: &str = "vault:kv/bi#token";

fn references() -> LoginRefs {
    LoginRefs::Pat(SecretRefs::new(vec![SecretRef::parse(REFERENCE).unwrap()]).unwrap())
}

fn found(clock: &dyn Clock, pat: &str, expires: Option<SystemTime>) -> FetchedPat {
    let secret = LoginSecret::Pat(Secret::new(pat.into()));
    FetchedPat {
        id: secret.id(),
        secret,
        version: "v7".into(),
        created: None,
        expires,
        from: SecretRef::parse(REFERENCE).unwrap(),
        rank: 0,
        began: clock.now(),
        ended: (clock.now(), clock.wall()),
    }
}

/// Opens the copy in a directory, with a key.
fn open(home: &std::path::Path, key: &str) -> Result<DiskCache, DiskCacheError> {
    std::fs::write(home.join("key"), key).unwrap();
    DiskCache::open(StateDir::open(&home.join("state")).unwrap(), &SecretSource::File(home.join("key")))
}

const KEY: &str = "bm90IGEgcmVhbCBrZXksIGJ1dCBsb25nIGVub3VnaCE=\n";

async fn kept(home: &std::path::Path, found: &FetchedPat, now: SystemTime) {
    let warm = open(home, KEY).unwrap();
    warm.keep(&references(), found, now);
    let file = home.join("state/warm");
    while !file.exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_kept_is_found_with_its_real_age() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    kept(home.path(), &found(&*clock, "canary-pat", None), clock.wall()).await;
    let file = std::fs::read(home.path().join("state/warm")).unwrap();
    assert!(!file.windows(6).any(|part| part == b"canary"), "the copy is sealed");
    clock.advance(Duration::from_secs(3_600));
    let back = open(home.path(), KEY).unwrap().find(&references(), &*clock).unwrap();
    assert_eq!((back.secret.stored().0.expose(), back.version.as_str()), ("canary-pat", "v7"));
    let age = clock.wall().duration_since(back.ended.1).unwrap();
    assert!((3_600..=3_601).contains(&age.as_secs()), "{age:?}");
}

#[tokio::test]
async fn a_changed_copy_or_another_key_opens_nothing() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    kept(home.path(), &found(&*clock, "canary-pat", None), clock.wall()).await;
    let file = home.path().join("state/warm");
    let sealed = std::fs::read(&file).unwrap();
    let finds = |content: &[u8], key: &str| {
        std::fs::write(&file, content).unwrap();
        open(home.path(), key).unwrap().find(&references(), &*clock).is_some()
    };
    assert!(finds(&sealed, KEY));
    assert!(!finds(&sealed, "another key, and that one is long enough too"));
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(!finds(&changed, KEY), "byte {at}");
    }
    for cut in [0, 5, 12, sealed.len() - 1] {
        assert!(!finds(&sealed[..cut], KEY), "cut at {cut}");
    }
}

#[tokio::test]
async fn a_pat_that_has_ended_is_not_taken_up() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    let end = clock.wall() + Duration::from_secs(60);
    kept(home.path(), &found(&*clock, "canary-pat", Some(end)), clock.wall()).await;
    assert!(open(home.path(), KEY).unwrap().find(&references(), &*clock).is_some());
    clock.advance(Duration::from_secs(61));
    assert!(open(home.path(), KEY).unwrap().find(&references(), &*clock).is_none());
}

#[test]
fn a_key_that_is_none_is_refused_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    assert!(matches!(open(home.path(), "short"), Err(DiskCacheError::Short)));
    let missing = SecretSource::File(home.path().join("missing"));
    assert!(matches!(DiskCache::open(StateDir::open(home.path()).unwrap(), &missing), Err(DiskCacheError::Unread(_))));
}

#[tokio::test]
async fn a_key_pair_is_kept_with_its_passphrase_and_is_no_pat_of_the_same_reference() {
    let (home, clock) = (tempfile::tempdir().unwrap(), ManualClock::start());
    let LoginRefs::Pat(same) = references() else { panic!() };
    let key = LoginRefs::KeyPair(same, SecretRef::parse("vault:kv/bi#phrase"));
    let pem = Secret::new(include_str!("../../tests/keys/ec-aes.pem").into());
    let secret =
        LoginSecret::key_pair(pem, Some(Secret::new("canary-pass".into()))).unwrap_or_else(|error| panic!("{error}"));
    let warm = open(home.path(), KEY).unwrap();
    warm.keep(&key, &FetchedPat { secret, ..found(&*clock, "canary-pat", None) }, clock.wall());
    while !home.path().join("state/warm").exists() {
        tokio::task::yield_now().await;
    }
    let again = open(home.path(), KEY).unwrap();
    let back = again.find(&key, &*clock).unwrap();
    assert_eq!(back.secret.stored().1.unwrap().expose(), "canary-pass");
    assert!(again.find(&references(), &*clock).is_none());
}
