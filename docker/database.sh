#!/bin/sh
# Make the database where there is none, then serve it. No command line and no environment holds the password.
# The role `lrsearch` owns its database and nothing else. Nobody can log in as the superuser.
set -eu
umask 077
new="$PGDATA.new" # a new database has its name only once it is whole

if [ ! -e "$PGDATA" ]; then
    rm -rf "$new"
    initdb --pgdata="$new" --username=postgres --encoding=UTF8 --locale=C --data-checksums \
        --auth-local=reject --auth-host=scram-sha-256 >&2
    echo "host lrsearch lrsearch all scram-sha-256" > "$new/pg_hba.conf"
    postgres --single -D "$new" -c exit_on_error=on -c log_min_error_statement=panic postgres > /dev/null <<SQL
CREATE ROLE lrsearch LOGIN PASSWORD '$(cat /run/secrets/db_password)'
CREATE DATABASE lrsearch OWNER lrsearch
SQL
    mv "$new" "$PGDATA"
fi
exec postgres -D "$PGDATA" -c "listen_addresses=*" -c unix_socket_directories=
