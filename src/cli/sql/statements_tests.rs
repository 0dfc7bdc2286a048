use super::*;

fn setup<'a>(egress: &'a [IpNet], login: Login<'a>) -> Setup<'a> {
    Setup {
        user: "powerbi_service",
        role: "bi_reader",
        uses: Uses { warehouse: Some("BI_WH"), database: Some("SALES"), schema: Some("MART") },
        egress,
        login,
        rotator: Some(RotatorUser { user: "PATGATE_ROTATOR", login: RotatorLogin::KeyPair(Some("MFkw")) }),
    }
}

#[test]
fn a_token_is_made_after_all_that_it_depends_on() {
    let egress = ["203.0.113.7/32".parse().unwrap()];
    let text = setup(&egress, Login::Pat { token: "powerbi_pat", days: 90 }).statements();
    let order = [
        "CREATE USER IF NOT EXISTS \"POWERBI_SERVICE\" TYPE = SERVICE DEFAULT_ROLE = 'BI_READER'",
        "GRANT USAGE ON WAREHOUSE \"BI_WH\" TO ROLE \"BI_READER\";",
        "MODE = INGRESS VALUE_LIST = ('203.0.113.7/32');",
        "ALTER USER \"POWERBI_SERVICE\" SET NETWORK_POLICY = PATGATE_EGRESS;",
        "MAX_EXPIRY_IN_DAYS = 90",
        "ALTER USER \"PATGATE_ROTATOR\" SET RSA_PUBLIC_KEY = 'MFkw';",
        "GRANT MODIFY PROGRAMMATIC AUTHENTICATION METHODS ON USER \"POWERBI_SERVICE\" TO ROLE \
         \"PATGATE_ROTATOR_ROLE\";",
        "ALTER USER \"POWERBI_SERVICE\" ADD PROGRAMMATIC ACCESS TOKEN \"POWERBI_PAT\"",
    ];
    let places: Vec<_> = order.iter().map(|one| text.find(one).unwrap_or_else(|| panic!("{one}: {text}"))).collect();
    assert!(places.is_sorted(), "{places:?}");
    for invented in ["GENERATE_PROGRAMMATIC_ACCESS_TOKEN", "SET PROGRAMMATIC_ACCESS_TOKEN"] {
        assert!(!text.contains(invented), "{invented}");
    }
}

#[test]
fn a_rotator_with_a_token_of_its_own_is_given_one_and_each_lifetime_has_its_policy() {
    let rotator = Some(RotatorUser { user: "PATGATE_ROTATOR", login: RotatorLogin::Pat(180) });
    let setup = Setup { rotator, ..setup(&[], Login::Pat { token: "T", days: 180 }) };
    let text = setup.statements();
    assert!(
        text.contains(
            "ALTER USER \"PATGATE_ROTATOR\" ADD PROGRAMMATIC ACCESS TOKEN PATGATE_ROTATOR ROLE_RESTRICTION = \
             'PATGATE_ROTATOR_ROLE' DAYS_TO_EXPIRY = 180;"
        ) && !text.contains("RSA_PUBLIC_KEY"),
        "{text}"
    );
    assert!(text.contains("PATGATE_PAT_180\n"), "{text}");
    let checks = setup.checks();
    assert!(checks.contains("TOKENS FOR USER \"PATGATE_ROTATOR\"") && !checks.contains("RSA_PUBLIC_KEY"), "{checks}");
}

#[test]
fn what_is_not_known_stands_there_as_something_to_fill_in() {
    let text = Setup { rotator: None, uses: Uses::default(), ..setup(&[], Login::KeyPair(None)) }.statements();
    for wanted in ["'<THE GATE''S ADDRESS>/32'", "-- GRANT USAGE ON WAREHOUSE <WAREHOUSE>", "--egress", "openssl pkey"]
    {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert!(!text.contains("PAT_POLICY") && text.contains("AUTHENTICATION_METHODS = ('KEYPAIR')"), "{text}");
}

#[test]
fn a_name_cannot_end_a_statement() {
    let odd = Setup { user: "x\"; DROP USER y; --", ..setup(&[], Login::Pat { token: "t", days: 1 }) };
    assert!(odd.statements().contains("\"X\"\"; DROP USER Y; --\""));
    assert!(odd.checks().contains("DESC USER \"X\"\"; DROP USER Y; --\";"));
}
