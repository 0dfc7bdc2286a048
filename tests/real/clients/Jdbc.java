// The JDBC driver as a test client; the contract is in ../README.md.
// java -cp JAR --add-opens=java.base/java.nio=ALL-UNNAMED Jdbc.java session

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Properties;

public class Jdbc {
  static final String ROWS =
      "select repeat('x', 100) as c from table(generator(rowcount => 100000))";

  static String step = "connect";
  static StringBuilder steps = new StringBuilder();

  public static void main(String[] args) {
    String answer;
    try {
      run(args[0]);
      answer = "{\"ok\":true,\"steps\":{" + steps + "}}";
    } catch (Throwable error) {
      StringBuilder text = new StringBuilder();
      for (Throwable e = error; e != null; e = e.getCause()) {
        text.append(text.length() == 0 ? "" : "\n");
        if (e instanceof SQLException sql) {
          text.append(sql.getErrorCode()).append(": ");
        }
        text.append(e.getMessage());
      }
      answer =
          "{\"ok\":false,\"step\":" + quoted(step)
              + ",\"error\":" + quoted(text.toString())
              + ",\"kind\":" + quoted(error.getClass().getName()) + "}";
    }
    System.out.println(answer);
    // The driver's background threads must not hold a failed test back.
    Runtime.getRuntime().halt(0);
  }

  static Connection connect() throws Exception {
    // The driver has no parameter for a private CA, only the machine's trust store.
    System.setProperty("javax.net.ssl.trustStore", env("GATE_TRUST"));
    System.setProperty("javax.net.ssl.trustStorePassword", env("GATE_TRUST_PASSWORD"));
    System.setProperty("javax.net.ssl.trustStoreType", "PKCS12");
    Properties p = new Properties();
    p.put("user", env("GATE_USER"));
    p.put("ssl", "on");
    if (System.getenv("GATE_ROLE") != null) {
      p.put("role", env("GATE_ROLE"));
    }
    // Else it asks cloud metadata addresses first, which takes 1.4 s.
    p.put("disablePlatformDetection", "true");
    p.put("CLIENT_TELEMETRY_ENABLED", "false");
    p.put("CLIENT_SESSION_KEEP_ALIVE", "true");
    p.put("loginTimeout", "10");
    p.put("maxHttpRetries", "1");
    switch (env("GATE_HOW")) {
      case "password" -> p.put("password", env("GATE_KEY"));
      case "pat" -> {
        p.put("authenticator", "PROGRAMMATIC_ACCESS_TOKEN");
        p.put("token", env("GATE_KEY"));
      }
      case "foreign" -> {
        p.put("authenticator", "oauth");
        p.put("token", env("GATE_KEY"));
      }
      default -> throw new IllegalArgumentException("GATE_HOW");
    }
    // A host without a dot needs the account in the URL.
    String url =
        "jdbc:snowflake://" + env("GATE_HOST") + ":" + env("GATE_PORT") + "/?account=any";
    String given = System.getenv("GATE_URL");
    return DriverManager.getConnection(given == null ? url : given, p);
  }

  static void run(String action) throws Exception {
    long start = System.nanoTime();
    Connection con = connect();
    add("connect", (System.nanoTime() - start) / 1_000_000);
    if (action.equals("session")) {
      session(con);
    }
    if (action.equals("wait")) {
      step = "wait";
      System.out.println("{\"ready\":true}");
      for (int read = 0; read != '\n'; read = System.in.read()) {
        if (read < 0) {
          throw new IllegalStateException("stdin ended before its line");
        }
      }
      step = "select";
      try (Statement s = con.createStatement()) {
        add("select", one(s, "SELECT 1", 1));
      }
    }
    step = "close";
    con.close();
    add("close", true);
  }

  static void session(Connection con) throws Exception {
    try (Statement s = con.createStatement()) {
      step = "select";
      add("select", one(s, "SELECT 1", 1));
      step = "rows";
      long count = 0;
      long chars = 0;
      try (ResultSet r = s.executeQuery(ROWS)) {
        while (r.next()) {
          count++;
          chars += r.getString(1).length();
        }
      }
      add("rows", "[" + count + "," + chars + "]");
      step = "renewed";
      s.executeQuery("select 'standin:expire'").close();
      add("renewed", one(s, "SELECT 2", 2));
    }
    // The driver's own first heartbeat comes right after the login, out of
    // sight, so the test asks for one more, which is what isValid() sends.
    step = "heartbeat";
    if (!con.isValid(10)) {
      throw new IllegalStateException("the heartbeat was refused");
    }
    add("heartbeat", true);
  }

  static int one(Statement s, String query, int wanted) throws Exception {
    try (ResultSet r = s.executeQuery(query)) {
      r.next();
      int value = r.getInt(1);
      if (value != wanted) {
        throw new IllegalStateException(query + ": " + value);
      }
      return value;
    }
  }

  static String env(String name) {
    String value = System.getenv(name);
    if (value == null) {
      throw new IllegalArgumentException(name + " is not set");
    }
    return value;
  }

  static void add(String name, Object value) {
    steps.append(steps.length() == 0 ? "" : ",").append(quoted(name)).append(':').append(value);
  }

  static String quoted(String text) {
    StringBuilder out = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c == '"' || c == '\\') {
        out.append('\\').append(c);
      } else if (c < ' ' || c > '~') {
        out.append(String.format("\\u%04x", (int) c));
      } else {
        out.append(c);
      }
    }
    return out.append('"').toString();
  }
}
