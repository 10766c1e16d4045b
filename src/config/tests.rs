use super::*;

fn from_text(text: &str) -> Result<Config, ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let config = Config::from_file(file.path())?;
    config.check()?;
    Ok(config)
}

fn refusal(text: &str) -> String {
    from_text(text).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_usable_and_an_empty_file_means_them() {
    assert_eq!(from_text("").unwrap().to_toml(), Config::default().to_toml());
}

#[test]
fn an_unknown_key_is_an_error_that_names_file_and_line() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "prefix = \"x/\"\n\n[etcd]\nendpoint = \"http://a:1\"\n").unwrap();
    let message = Config::from_file(file.path()).unwrap_err().to_string();
    assert!(message.contains(file.path().to_str().unwrap()), "{message}");
    assert!(message.contains("line 4"), "{message}");
    assert!(message.contains("`endpoint`"), "{message}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let message = Config::from_file(Path::new("/nowhere/operator.toml")).unwrap_err().to_string();
    assert!(message.contains("/nowhere/operator.toml"), "{message}");
}

#[test]
fn tuning_reaches_the_settings_of_the_loops() {
    let config = from_text("[tuning]\nrescan = \"1s\"\nretry_max = \"2s\"\nseed = 7\n").unwrap();
    let settings = config.tuning.settings();
    assert_eq!(settings.rescan.as_secs(), 1);
    assert_eq!(settings.retry_max.as_secs(), 2);
    assert_eq!(settings.seed, 7);
}

#[test]
fn values_that_cannot_work_are_refused_with_their_name() {
    for (text, name) in [
        ("prefix = \"/\"", "prefix"),
        ("lease = \"1s\"", "lease"),
        ("lease = \"1h\"", "lease"),
        ("lease = 15", "lease"),
        ("etcd.endpoints = []", "etcd.endpoints"),
        ("etcd.user = \"u\"", "etcd.user"),
        ("etcd.cert_file = \"/x\"", "etcd.key_file"),
        ("agents.key_file = \"/x\"", "agents.cert_file"),
        ("log.filter = \"=,=\"", "log.filter"),
        ("tuning.rescan = \"0s\"", "tuning.rescan"),
        ("tuning.retry_max = \"1ms\"", "tuning.retry_max"),
        ("tuning.requests_per_agent = 0", "tuning.requests_per_agent"),
    ] {
        let message = refusal(text);
        assert!(message.contains(name), "{text}: {message}");
    }
}

#[test]
fn a_password_is_read_from_its_file_and_printed_nowhere() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "sesame\n").unwrap();
    let path = secret.path().display();
    let mut config =
        from_text(&format!("etcd.user = \"u\"\netcd.password_file = \"{path}\"\n")).unwrap();
    assert_eq!(config.etcd.connection().unwrap().password.reveal(), "sesame");
    config.etcd.password = Secret::new("sesame");
    let shown = format!("{config:?}{}", config.to_toml());
    assert!(!shown.contains("sesame"), "{shown}");
    assert!(shown.contains("(redacted)"), "{shown}");
}

#[test]
fn the_printed_configuration_can_be_read_again() {
    let printed = from_text("identity = \"one\"\n[tuning]\nrescan = \"1s\"\n").unwrap().to_toml();
    assert_eq!(from_text(&printed).unwrap().to_toml(), printed);
}
