# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# Completion of weir's commands, options, services, pools, backends, interfaces and files for bash. Source it, or
# install it as /usr/share/bash-completion/completions/weir. Needs neither root nor bash-completion;
# names of services, pools and backends need whatever `weir status` needs.

# The services of what is loaded, one a line.
_weir_services()
{
	weir status --json 2>/dev/null | tr -d '\n' |
		sed -n 's/.*"services": *\[\([^]]*\)\].*/\1/p' | grep -o '"name": *"[^"]*"' |
		sed 's/.*: *"\(.*\)"/\1/'
}

# The values of a field in the backends of what is loaded: "pool", "name".
_weir_backends()
{
	weir backend show --json 2>/dev/null | grep -o "\"$1\": *\"[^\"]*\"" | sed 's/.*: *"\(.*\)"/\1/' | sort -u
}

_weir_interfaces()
{
	local path
	for path in /sys/class/net/*; do
		echo "${path##*/}"
	done
}

_weir_paths="hit miss request request_acked connect_server connect_client connect rtt_server rtt_client"

# What may follow a command ("load", "cache warm"): its options.
_weir_options()
{
	local all="--json -q --quiet -h --help"
	case $1 in
	check) echo "-c --config $all" ;;
	load) echo "-c --config -i --iface -m --mode --dry-run $all" ;;
	reload) echo "-c --config --dry-run $all" ;;
	run) echo "-c --config --no-load --unload-on-exit --http $all" ;;
	stats) echo "-w --watch -s --service --all $all" ;;
	top) echo "-d --delay --once $all" ;;
	metrics) echo "--format --textfile --statsd --namespace --interval $all" ;;
	doctor) echo "-i --iface $all" ;;
	"service show") echo "$all" ;;
	"service add") echo "--clients -p --pool --protocol --fragments --origin -t --ttl --cache $all" ;;
	"service set")
		echo "--vips --clients -p --pool --protocol --fragments --origin -t --ttl --migrate" \
			"--scheduler --fail --quantum --bound $all"
		;;
	"backend show" | "backend enable" | "backend disable") echo "-p --pool $all" ;;
	"backend add") echo "-p --pool --capacity --backup --delivery --shard --quic-id $all" ;;
	"backend set") echo "-p --pool --capacity --backup $all" ;;
	"backend drain") echo "-p --pool --wait $all" ;;
	"backend del") echo "-p --pool --force $all" ;;
	"flow show") echo "-n --limit --count $all" ;;
	"flow top") echo "--by -n --limit $all" ;;
	"latency show") echo "--path --backends $all" ;;
	"cache warm") echo "-s --service -t --ttl --replace --dry-run --strict --format $all" ;;
	"cache import") echo "-s --service -t --ttl --replace --dry-run --strict --format $all" ;;
	"cache export") echo "-s --service -n --top --values -o --output $all" ;;
	"cache policy") echo "--http $all" ;;
	"cache show") echo "-n --top -s --service $all" ;;
	"cache put") echo "-s --service -t --ttl -f --flags $all" ;;
	"cache drop") echo "--prefix --file --reason --dry-run -s --service $all" ;;
	"cache why") echo "-s --service --http $all" ;;
	"cache get" | "cache flush") echo "-s --service $all" ;;
	*) echo "$all" ;;
	esac
}

# The command before the cursor: "load", "cache", "cache warm", or nothing yet. Nouns come first.
_weir_command()
{
	local word noun=
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in
		-* | help) ;;
		cache | service | backend | flow | latency)
			if [ -n "$noun" ]; then
				echo "$noun $word"
				return
			fi
			noun=$word
			;;
		*)
			echo "${noun:+$noun }$word"
			return
			;;
		esac
	done
	echo "$noun"
}

# Words that begin with what is typed.
_weir_words()
{
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "${COMP_WORDS[COMP_CWORD]}")
}

_weir_files()
{
	compopt -o filenames 2>/dev/null
	mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
}

# The value of the option before the cursor. Fails when that takes none.
_weir_value()
{
	case $1 in
	-c | --config | --textfile) _weir_files ;;
	-s | --service) _weir_words "$(_weir_services)" ;;
	-p | --pool) _weir_words "$(_weir_backends pool)" ;;
	--delivery) _weir_words "l2 tunnel nat" ;;
	--scheduler) _weir_words "least-loaded maglev maglev-bounded" ;;
	--protocol) _weir_words "tcp udp both" ;;
	--fragments) _weir_words "steer drop" ;;
	--by) _weir_words "latency bytes packets" ;;
	--path) _weir_words "$_weir_paths" ;;
	--fail) _weir_words "drop reset" ;;
	-i | --iface) _weir_words "$(_weir_interfaces)" ;;
	-m | --mode) _weir_words "auto native generic" ;;
	--format)
		if [ "$command" = metrics ]; then
			_weir_words "prometheus openmetrics json emf statsd"
		else
			_weir_words "auto keys csv jsonl metadump"
		fi
		;;
	-d | --delay) _weir_words "500ms 1s 2s 5s" ;;
	--interval) _weir_words "10s 15s 30s 1m" ;;
	--statsd | --namespace) COMPREPLY=() ;;
	-t | --ttl) _weir_words "30s 5m 1h 1d never" ;;
	-n | --top | --limit | -f | --flags | --capacity | --shard | --quic-id | --quantum | --bound) COMPREPLY=() ;;
	*) return 1 ;;
	esac
}

_weir()
{
	local command
	COMPREPLY=()
	command=$(_weir_command)
	if [ -n "$command" ] && _weir_value "${COMP_WORDS[COMP_CWORD - 1]}"; then
		return
	fi
	case $command:${COMP_WORDS[COMP_CWORD]} in
	:-*) _weir_words "-h --help --version --json -q --quiet" ;;
	:*) _weir_words "check load unload reload run status stats top metrics doctor service backend flow latency cache help" ;;
	cache:-* | service:-* | backend:-* | flow:-* | latency:-*) _weir_words "-h --help" ;;
	service:*) _weir_words "show add set del" ;;
	backend:*) _weir_words "show add set drain enable disable del" ;;
	flow:*) _weir_words "show top" ;;
	latency:*) _weir_words "show" ;;
	cache:*) _weir_words "warm show get why policy export import put drop flush" ;;
	*:-*) _weir_words "$(_weir_options "$command")" ;;
	"cache policy":*) _weir_words "show" ;;
	"cache warm":* | "cache import":*) _weir_files ;;
	"service add":*) ;;
	"service "*:*) _weir_words "$(_weir_services)" ;;
	"backend add":*) ;;
	"backend "*:*) _weir_words "$(_weir_backends name)" ;;
	"latency show":*) _weir_words "$(_weir_services)" ;;
	"flow show":* | "flow top":*) _weir_words "backend= pool= service= client= port= state= family= proto=" ;;
	esac
}

complete -F _weir weir
