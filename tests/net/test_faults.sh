#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm-kernels: 6.1
#
# Commands that meet each other, lack permission, or find the ground changed: each says what is wrong,
# and nothing is half applied or left behind.

. "$(dirname "$0")/common.sh"
net_start "$@"
cd $LAB_DIR || exit 1
chmod 755 /run $LAB_DIR
net_yaml 2000 >$YAML
net_yaml 3000 >other.yaml
echo key,value >hot.csv

### Nothing there, twice, not allowed

tap_ok "unload with nothing loaded is no failure" weir unload
tap_like "  and says so" "$(weir unload)" 'nothing is loaded'
tap_fails "status with nothing loaded: status 1" 1 weir status
tap_ok "load" weir_load
weir cache put key first >/dev/null
tap_fails "a second load: status 1" 1 weir load -c $YAML
tap_like "  explains itself" "$(weir load -c other.yaml 2>&1)" 'already loaded.*weir reload.*weir unload'
tap_is "  and changes nothing" \
	"$(of_json "d['generation'], d['cache']['capacity'], d['cache']['keys']" weir status --json)" '[1, 2000, 1]'

# A weir that nobody may read is found by root alone: a copy for the others.
cp "$WEIR" weir-copy && chmod 755 weir-copy && chmod 644 $YAML hot.csv
nobody() { lab_in server setpriv --reuid 65534 --regid 65534 --clear-groups $LAB_DIR/weir-copy "$@"; }
tap_fails "load by nobody: status 4" 4 nobody load -c $YAML
tap_like "  says what is missing" "$(nobody load -c $YAML 2>&1)" 'not permitted.*root'
for command in "reload -c $YAML" unload status stats 'cache show' 'cache put a b' "cache warm hot.csv"; do
	tap_fails "$command by nobody: status 4" 4 nobody $command
done
tap_ok "check by nobody works" nobody check -c $YAML
tap_ok "cache warm --dry-run by nobody works" nobody cache warm --dry-run hot.csv
tap_ok "help by nobody works" nobody load -h
weir unload >/dev/null
tap_ok "load --dry-run by nobody works" nobody load --dry-run -c $YAML
tap_is "  and leaves nothing" "$(leftovers)" ""

while read -r words; do
	tap_fails "weir $words: status 2" 2 weir $words
done <<-EOF
	lod
	load
	load --conf $YAML
	load -c $YAML extra
	load -c $YAML --mode fast
	unload now
	status --verbose
	cache
	cache worm hot.csv
	cache warm
	cache warm --ttl soon hot.csv
	cache show --top none
	cache put key
	stats --watchh
EOF
tap_is "wrong words leave nothing" "$(leftovers)" ""

### The ground is not as expected

sed 's/eth0/eth7/' $YAML >bad.yaml
tap_fails "an interface that is not there: status 1" 1 weir load -c bad.yaml
tap_like "  is named" "$(weir load -c bad.yaml 2>&1)" 'eth7'
sed 's/{name: eth0}/&, {name: eth7}/' $YAML >bad.yaml
tap_fails "one of two that is not there: status 1" 1 weir load -c bad.yaml
tap_is "  and nothing is half loaded" "$(leftovers)" ""

ip -n server link set dev eth0 xdpdrv obj "$WEIR_BUILD/tests/bpf/xdp_pass.bpf.o" sec xdp
tap_fails "another XDP program on the interface: status 1" 1 weir load -c $YAML
tap_like "  is said" "$(weir load -c $YAML 2>&1)" 'eth0: another XDP program'
tap_is "  it stays, and nothing else" "$(leftovers)" "xdp "
ip -n server link set dev eth0 xdpdrv off

lab_in server tc qdisc add dev eth0 clsact
tap_ok "on an interface with a clsact of somebody else" weir_load
tap_ok "  unload" weir unload
tap_is "  leaves it alone" "$(leftovers)" clsact
lab_in server tc qdisc del dev eth0 clsact

# Ours, and what it hides.
while umount /sys/fs/bpf 2>/dev/null; do :; done
tap_fails "no BPF file system: status 3" 3 weir load -c $YAML
tap_like "  is said, and the remedy" "$(weir load -c $YAML 2>&1)" 'mount -t bpf'
tap_fails "  by status too: status 3" 3 weir status
mount -t bpf bpf /sys/fs/bpf

tap_ok "load" weir_load
ip -n server link set dev eth0 xdpdrv off
tap_fails "the program taken off behind our back: status 5" 5 weir status
tap_is "  is seen" \
	"$(of_json "d['answering'], d['interfaces'][0]['attached']" weir status --json 2>/dev/null)" '[false, false]'
weir cache put key before >/dev/null
tap_ok "reload puts it back" weir reload -q -c $YAML
tap_ok "  so that all is well" weir status
tap_is "  but copies of before do not answer: writes were not seen" "$(ask 'get key')" 'END\r\n'
lab_in server tc qdisc del dev eth0 clsact
tap_fails "the egress program taken off: status 5" 5 weir status
tap_ok "reload puts it back" weir reload -q -c $YAML
tap_ok "  so that all is well" weir status
ip -n server link set dev eth0 mtu 1400
tap_fails "another MTU: status 5" 5 weir status
tap_ok "reload adapts" weir reload -q -c $YAML
tap_ok "  so that all is well" weir status
ip -n server link set dev eth0 mtu 1500
tap_fails "from another network namespace, status knows: status 5" 5 lab_in client "$WEIR" status
tap_fails "  and unload is refused: status 1" 1 lab_in client "$WEIR" unload
tap_ok "  so that it is still loaded" weir cache get key
weir unload >/dev/null

lab_netns third
lab_link third eth0 server gone
sed 's/{name: eth0}/&, {name: gone}/' $YAML >two.yaml
weir load -q -c two.yaml >/dev/null
ip -n server link del gone
tap_fails "an interface deleted while loaded: status 5" 5 weir status
tap_is "  is seen" \
	"$(of_json "[i['present'] for i in d['interfaces']], d['answering']" weir status --json 2>/dev/null)" \
	'[[true, false], true]'
tap_ok "unload works all the same" weir unload
tap_is "  and leaves nothing" "$(leftovers)" ""

### Two at once

weir_load >/dev/null
for i in $(seq 1 1000); do echo "a$i,first"; done >a.csv
for i in $(seq 1 1000); do echo "b$i,second"; done >b.csv
lab_bg warm_a weir cache warm --json a.csv
lab_bg warm_b weir cache warm --json b.csv
wait "$(lab_pid warm_a)"; status=$?
wait "$(lab_pid warm_b)"; status=$status,$?
tap_is "two lists are warmed at once: both end well" "$status" 0,0
tap_is "  and all their keys are there" "$(of_json "d['matched']" weir cache show --json)" 2000
writers=()
for i in {1..8}; do
	lab_bg "put$i" weir cache put "a$i" "put$i"
	writers+=("$(lab_pid "put$i")")
done
lab_bg reload weir reload -q -c other.yaml
status=0
for pid in "${writers[@]}" "$(lab_pid reload)"; do
	wait "$pid" || status=$?
done
tap_is "eight writers and a reload at once: all end well" $status 0
tap_is "  and wrote what they were to" "$(ask 'get a1' 'get a8')" 'VALUE a1 0 4\r\nput1\r\nEND\r\n
VALUE a8 0 4\r\nput8\r\nEND\r\n'

weir_put_late() { weir cache put late value >late.out 2>&1; }
held() { ! flock -n /sys/fs/bpf/weir true; }
lab_bg holder flock -o /sys/fs/bpf/weir sleep 60
lab_wait_for 5 held
lab_bg waiting weir cache put late value
sleep 0.3
tap_ok "a writer waits for the lock" kill -0 "$(lab_pid waiting)"
tap_ok "  readers do not" weir cache get a1
tap_is "  and packets are answered" "$(ask 'get a1')" 'VALUE a1 0 4\r\nput1\r\nEND\r\n'
lab_stop holder
wait "$(lab_pid waiting)"
tap_is "  it goes on when the lock is free" "$?" 0
lab_bg holder flock -o /sys/fs/bpf/weir sleep 60
lab_wait_for 5 held
tap_fails "a lock that is not given back: status 1" 1 weir_put_late
tap_like "  is said, after 10 seconds" "$(cat late.out)" 'another weir command'
lab_stop holder
weir unload >/dev/null
tap_is "unload leaves nothing" "$(leftovers)" ""
tap_done
