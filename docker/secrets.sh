#!/bin/sh
# Make the secrets of compose.yaml beside it. It runs as root: each file belongs to the container user that reads it.
set -eu
umask 077
folder="${1:-$(dirname "$0")/secrets}"
database=999 # the user of the service `db`
image=10001  # the user of the Dockerfile

if [ -e "$folder" ]; then
    echo "$folder is there already: remove it first, and the database's volume, which keeps the old password" >&2
    exit 2
fi

random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# write OWNER FILE TEXT: `printf` belongs to the shell, so the text is on no command line
write() {
    printf '%s\n' "$3" > "$folder/$2"
    chmod 400 "$folder/$2"
    chown "$1:$1" "$folder/$2"
}

mkdir -p "$folder"
chmod 711 "$folder" # Docker asks whether a file is there; nobody else can read or list them
password="$(random)"
write "$database" db_password "$password"
write "$image" passfile "db:5432:lrsearch:lrsearch:$password"
write "$image" ray_token "$(random)"
write "$image" dashboard_token "$(random)"
