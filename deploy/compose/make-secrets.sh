#!/bin/sh
# Makes the passwords of compose.yaml, once, in the folder secrets/ beside it. None of them is ever shown or replaced.
set -eu
cd "$(dirname "$0")/../.."
umask 077
if [ -e secrets ]; then
  echo "The folder secrets is there already: its passwords are those that the volumes were made with." >&2
  exit 1
fi
password() { head -c 512 /dev/urandom | LC_ALL=C tr -dc 'A-Za-z0-9' | head -c 32; }
work=$(mktemp -d ./secrets.XXXXXX)
trap 'rm -rf "$work"' EXIT
milvus=$(password)
minio_user=$(password)
minio_password=$(password)
printf 'root:%s' "$milvus" > "$work/milvus_token"
printf '%s' "$minio_user" > "$work/minio_user"
printf '%s' "$minio_password" > "$work/minio_password"
printf '%s' "$(password)" > "$work/grafana_password"
cat > "$work/milvus.yaml" <<END
minio:
  accessKeyID: $minio_user
  secretAccessKey: $minio_password
common:
  security:
    authorizationEnabled: true
    defaultRootPassword: $milvus
END
# The containers' users are none of this machine's: the files can be read by all, their folder by its owner alone.
chmod 444 "$work"/*
mv "$work" secrets
echo "secrets/ is made: keep a copy of it with the backups."
