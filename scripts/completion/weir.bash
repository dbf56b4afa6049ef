# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
#
# Completion of weir's commands, options, services, interfaces and files for bash. Source it, or
# install it as /usr/share/bash-completion/completions/weir. Needs neither root nor bash-completion;
# names of services need whatever `weir status` needs.

# The services of what is loaded, one a line.
_weir_services()
{
	weir status --json 2>/dev/null | tr -d '\n' |
		sed -n 's/.*"services": *\[\([^]]*\)\].*/\1/p' | grep -o '"name": *"[^"]*"' |
		sed 's/.*: *"\(.*\)"/\1/'
}

_weir_interfaces()
{
	local path
	for path in /sys/class/net/*; do
		echo "${path##*/}"
	done
}

# What may follow a command ("load", "cache warm"): its options.
_weir_options()
{
	local all="--json -q --quiet -h --help"
	case $1 in
	check) echo "-c --config $all" ;;
	load) echo "-c --config -i --iface -m --mode --dry-run $all" ;;
	reload) echo "-c --config --dry-run $all" ;;
	stats) echo "-w --watch -s --service --all $all" ;;
	doctor) echo "-i --iface $all" ;;
	"cache warm") echo "-s --service -t --ttl --replace --dry-run --strict --format $all" ;;
	"cache show") echo "-n --top -s --service $all" ;;
	"cache put") echo "-s --service -t --ttl -f --flags $all" ;;
	"cache get" | "cache drop" | "cache flush") echo "-s --service $all" ;;
	*) echo "$all" ;;
	esac
}

# The command before the cursor: "load", "cache", "cache warm", or nothing yet.
_weir_command()
{
	local word noun=
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in
		-* | help) ;;
		cache) [ -z "$noun" ] && noun=cache ;;
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
	-c | --config) _weir_files ;;
	-s | --service) _weir_words "$(_weir_services)" ;;
	-i | --iface) _weir_words "$(_weir_interfaces)" ;;
	-m | --mode) _weir_words "auto native generic" ;;
	--format) _weir_words "auto keys csv jsonl metadump" ;;
	-t | --ttl) _weir_words "30s 5m 1h 1d never" ;;
	-n | --top | -f | --flags) COMPREPLY=() ;;
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
	:*) _weir_words "check load unload reload status stats doctor cache help" ;;
	cache:-*) _weir_words "-h --help" ;;
	cache:*) _weir_words "warm show get put drop flush" ;;
	*:-*) _weir_words "$(_weir_options "$command")" ;;
	"cache warm":*) _weir_files ;;
	esac
}

complete -F _weir weir
