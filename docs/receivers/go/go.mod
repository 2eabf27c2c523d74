module cspr-relay-receiver

go 1.18
