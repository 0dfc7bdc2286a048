//! What happens to files: old ones are kept, and nothing is written halfway.

use super::*;

#[test]
fn an_old_file_is_no_file_to_look_at() {
    assert_eq!(Format::of(Path::new(".env.before-patgate")), None);
    assert_eq!(Format::of(Path::new("odbc.ini.before-patgate")), None);
}

#[cfg(unix)]
#[test]
fn an_old_file_is_for_its_user_alone_and_goes_through_no_link() {
    use std::os::unix::fs::{MetadataExt, symlink};
    let text = format!("[x]\nhost = \"{HOST}\"\npassword = \"{CANARY}\"\n");
    let place = Place::new("connections.toml", text.as_bytes());
    let backup = place.look(true).backup.unwrap();
    assert_eq!(std::fs::metadata(backup).unwrap().mode() & 0o777, 0o600);
    let place = Place::new("connections.toml", text.as_bytes());
    let elsewhere = place.home.path().join("elsewhere");
    symlink(&elsewhere, written::backup(&place.file)).unwrap();
    assert!(place.look(true).error.unwrap().contains("is there already"));
    assert!(!elsewhere.exists() && place.text() == text);
}

#[test]
fn an_old_file_is_never_overwritten() {
    let text = format!("[x]\nhost = \"{HOST}\"\npassword = \"{CANARY}\"\n");
    let place = Place::new("connections.toml", text.as_bytes());
    std::fs::write(written::backup(&place.file), "older").unwrap();
    let report = place.look(true);
    assert!(report.error.unwrap().contains("is there already"));
    assert_eq!(place.text(), text);
    assert_eq!(std::fs::read_to_string(written::backup(&place.file)).unwrap(), "older");
}

#[test]
fn without_the_key_nothing_with_a_secret_is_written() {
    let text = format!("[x]\nhost = \"{HOST}\"\npassword = \"{CANARY}\"\n");
    let place = Place::new("connections.toml", text.as_bytes());
    let targets = [Target::example("bi", HOST, "BI_SERVICE")];
    let report = look(&place.file, Format::Toml, &targets, true, None);
    assert!(report.error.unwrap().contains("--key-file"));
    assert_eq!(place.text(), text);
}

#[test]
fn directories_are_looked_through_and_those_of_programs_are_not() {
    let place = Place::new("a/.env", b"");
    for name in ["a/odbc.ini", "a/readme.md", ".git/x.json", "node_modules/x.json"] {
        let file = place.home.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "").unwrap();
    }
    let names = |path: &Path| -> Vec<String> {
        let found = walk::files(path).into_iter().map(Result::unwrap);
        found.map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names(place.home.path()), [".env", "odbc.ini"]);
    assert!(
        walk::files(&place.home.path().join("a/readme.md"))[0]
            .as_ref()
            .is_err_and(|(_, error)| error.contains("odbc.ini"))
    );
    assert!(walk::files(&place.home.path().join("gone"))[0].is_err());
}
