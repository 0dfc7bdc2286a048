// The Go driver as a test client; the contract is in ../../README.md.
// SSL_CERT_FILE must name the private CA before the program starts.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	sf "github.com/snowflakedb/gosnowflake/v2"
)

var step = "connect"

func main() {
	// The driver logs to stderr by itself; stdout carries only the one answer.
	answer := map[string]any{"ok": true}
	steps, err := run(os.Args[1])
	if err != nil {
		kind := fmt.Sprintf("%T", err)
		var own *sf.SnowflakeError
		if errors.As(err, &own) {
			kind = fmt.Sprintf("%T", own)
		}
		answer = map[string]any{"ok": false, "step": step, "error": err.Error(), "kind": kind}
	} else {
		answer["steps"] = steps
	}
	json.NewEncoder(os.Stdout).Encode(answer)
}

func config() (*sf.Config, error) {
	if dsn := os.Getenv("GATE_DSN"); dsn != "" {
		return sf.ParseDSN(dsn)
	}
	port, err := strconv.Atoi(os.Getenv("GATE_PORT"))
	if err != nil {
		return nil, err
	}
	c := &sf.Config{
		Account:  "any",
		Host:     os.Getenv("GATE_HOST"),
		Port:     port,
		Protocol: "https",
		User:     os.Getenv("GATE_USER"),
		Role:     os.Getenv("GATE_ROLE"),
		// Without this, each TLS connection first waits for OCSP hosts
		// that do not exist in the test network.
		DisableOCSPChecks: true,
		LoginTimeout:      10 * time.Second,
		MaxRetryCount:     1,
	}
	key := os.Getenv("GATE_KEY")
	switch how := os.Getenv("GATE_HOW"); how {
	case "password":
		c.Password = key
	case "pat":
		c.Authenticator, c.Token = sf.AuthTypePat, key
	case "foreign":
		c.Authenticator, c.Token = sf.AuthTypeOAuth, key
	default:
		return nil, fmt.Errorf("unknown GATE_HOW %q", how)
	}
	return c, nil
}

func run(action string) (map[string]any, error) {
	// The driver itself has no limit for a query, so the test sets one.
	ctx, stop := context.WithTimeout(context.Background(), 60*time.Second)
	defer stop()
	c, err := config()
	if err != nil {
		return nil, err
	}
	steps := map[string]any{}
	start := time.Now()
	db := sql.OpenDB(sf.NewConnector(sf.SnowflakeDriver{}, *c))
	con, err := db.Conn(ctx) // sql.OpenDB alone sends nothing
	if err != nil {
		return nil, err
	}
	steps["connect"] = time.Since(start).Milliseconds()
	if action == "session" {
		if err := session(ctx, con, steps); err != nil {
			return nil, err
		}
	}
	if action == "wait" {
		step = "wait"
		fmt.Println(`{"ready":true}`)
		fmt.Scanln()
		step = "select"
		var n int
		if err := con.QueryRowContext(ctx, "SELECT 1").Scan(&n); err != nil {
			return nil, err
		}
		steps["select"] = n
	}
	step = "close"
	if err := con.Close(); err != nil {
		return nil, err
	}
	if err := db.Close(); err != nil { // this sends the logout
		return nil, err
	}
	steps["close"] = true
	return steps, nil
}

func session(ctx context.Context, con *sql.Conn, steps map[string]any) error {
	one := func(query string) (n int, err error) {
		err = con.QueryRowContext(ctx, query).Scan(&n)
		return n, err
	}
	var err error
	step = "select"
	if steps["select"], err = one("SELECT 1"); err != nil {
		return err
	}
	step = "rows"
	rows, err := con.QueryContext(ctx,
		"select repeat('x', 100) as c from table(generator(rowcount => 100000))")
	if err != nil {
		return err
	}
	defer rows.Close()
	var count, chars int
	var text string
	for rows.Next() {
		if err := rows.Scan(&text); err != nil {
			return err
		}
		count, chars = count+1, chars+len(text)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	steps["rows"] = []int{count, chars}
	step = "renewed"
	if err := con.QueryRowContext(ctx, "select 'standin:expire'").Scan(&text); err != nil {
		return err
	}
	if steps["renewed"], err = one("SELECT 2"); err != nil {
		return err
	}
	// The first heartbeat comes after at least 15 minutes and cannot be forced.
	steps["heartbeat"] = nil
	return nil
}
