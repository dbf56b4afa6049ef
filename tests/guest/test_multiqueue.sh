#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# vm: --nic hub=lan,queues=6 --nic hub=lan,queues=6 --nic hub=few,queues=2 --nic hub=few,queues=2 --cpus 2
# vm-kernels: 6.1 6.18
#
# A NIC with several queues, whose programs run on all CPUs at once: every packet is answered and
# counted once, and no reader sees an old value, on whichever queue.
#
# virtio_net wants a further queue for each CPU, for what XDP sends. eth0 has them; eth1 has not, where
# CPUs share queues, with locks.

. "$(dirname "$0")/common.sh"
guest_start 2
cd $LAB_DIR || exit 1

# Many flows at once, each with one request on its way. Prints what was sent and what came.
flows() # SERVER FLOWS ROUNDS REQUEST...
{
	lab_in client python3 - "$@" <<-'END'
		import collections, select, socket, struct, sys
		flows, rounds, requests = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
		socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(flows)]
		for s in socks:
		    s.connect((sys.argv[1], 11211))
		sent, lost, replies = 0, 0, collections.Counter()
		for r in range(rounds):
		    waiting = {}
		    for i, s in enumerate(socks):
		        request = requests[(r + i) % len(requests)]
		        s.send(struct.pack(">HHHH", r, 0, 1, 0) + request.encode() + b"\r\n")
		        waiting[s] = request
		        sent += 1
		    while waiting:
		        ready = select.select(list(waiting), [], [], 10)[0]
		        if not ready:
		            lost += len(waiting)
		            break
		        for s in ready:
		            data = s.recv(2048)
		            if struct.unpack_from(">HHH", data) == (r, 0, 1):
		                replies[waiting.pop(s), data[8:].decode().replace("\r\n", "~")] += 1
		print("sent", sent, "lost", lost)
		for (request, reply), n in sorted(replies.items()):
		    print(request, "->", reply, n)
	END
}

# Several readers of one key, each a flow of its own, while one client writes it. What was acknowledged
# before a lookup was sent, its reply must not be older than.
rewritten() # READERS SECONDS
{
	lab_in client python3 - "$NET_DIR" "$@" <<-'END'
		import random, sys, threading, time
		sys.path.insert(0, sys.argv[1])
		from client import Lost, Udp, read, write
		readers, end = int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
		acked, reads, stale, lost = 0, 0, [], 0
		def reader(seed):
		    global reads, lost
		    udp, rng = Udp("10.7.0.1:11211", timeout=10), random.Random(seed)
		    while time.monotonic() < end:
		        least, kind = acked, rng.choice(["text", "meta", "binary"])
		        try:
		            got = int(read(udp, kind, b"k0"))
		        except Lost:
		            lost += 1
		            continue
		        reads += 1
		        if got < least:
		            stale.append((kind, got, least))
		threads = [threading.Thread(target=reader, args=(i,)) for i in range(readers)]
		udp, rng = Udp("10.7.0.1:11211", timeout=10), random.Random(99)
		write(udp, "text", b"k0", b"0")
		for t in threads:
		    t.start()
		n = 0
		while time.monotonic() < end:
		    n += 1
		    if write(udp, rng.choice(["text", "meta", "binary"]), b"k0", b"%d" % n):
		        acked = n
		    # Warming leaves alone for two seconds what was written.
		    time.sleep(4 if n % 8 == 0 else rng.random() / 10)
		for t in threads:
		    t.join()
		print(f"{n} writes, {reads} reads")
		print("acknowledged", acked == n, "read", reads > 0, "stale", stale[:3], "lost", lost)
	END
}

# Or nothing would be answered after the first write.
keep_warm()
{
	lab_bg warm lab_in server bash -c 'while :; do
		printf "k%s\n" {0..499} | "$0" cache warm -q -
		sleep 0.1
	done' "$WEIR"
}

# How many queues a counter shows at work.
at_work() # IF rx|tx COUNTER
{
	nic_counts "$@" | tr ' ' '\n' | grep -cv '^0$'
}

# A regular expression for how the driver tells of too few queues.
LOCKED='XDP request [0-9]+ queues but max is [0-9]+'

cat >$YAML <<-END
	interfaces: [{name: eth0}, {name: eth1}]
	cache: {capacity: 1000, memory: 4M}
	services:
	  - name: cache
	    vips: ["10.7.0.1:11211", "10.8.0.1:11211"]
	    clients: [10.7.0.0/24, 10.8.0.0/24]
	    origin: 10.7.0.1:11211
END

for nic in eth0 eth1; do
	lab_in server ethtool -L $nic combined 4 2>/dev/null
	lab_in client ethtool -L $nic combined 4 2>/dev/null
done
tap_like "doctor finds the queues that eth0 has to spare" "$(weir doctor -i eth0)" 'ok +queues +4 of 6 pairs'
tap_like "  and that eth1 has none" "$(weir doctor -i eth1)" 'info +queues +2 of 2 pairs.*with locks.*fix: '
dmesg -C
tap_ok "weir is loaded: not degraded" weir load -q -c $YAML
tap_is "  natively on both" "$(of_json "[i['mode'] for i in d['interfaces']]" weir status --json)" \
	'["native", "native"]'
tap_like "  the kernel tells of eth1 only" "$(dmesg | grep -E "$LOCKED" | grep -o 'eth[01]')" '^eth1$'

### Counted once, answered once

tell 'set one 5 0 3' ONE 'set cold 0 0 4' cold 'set k0 0 0 1' 0 >/dev/null
printf '%s\n' one k0 | weir cache warm -q - >/dev/null
hits=0
for row in 'eth0 10.7.0.1 3' 'eth1 10.8.0.1 2'; do
	read -r nic to queues <<<"$row"
	reasons_since >/dev/null
	tap_is "$nic: 64 flows, 20 requests each: all are answered, rightly" \
		"$(flows $to 64 20 'get one' 'mg one v s' 'get cold' 'get nowhere')" 'sent 1280 lost 0
get cold -> VALUE cold 0 4~cold~END~ 320
get nowhere -> END~ 320
get one -> VALUE one 5 3~ONE~END~ 320
mg one v s -> VA 3 s3~ONE~ 320'
	tap_is "  the reasons add up to what was sent" "$(reasons_since)" "hit=640 miss=640"
	hits=$((hits + 640))
	tap_is "  the driver sent each hit, and dropped nothing" \
		"$(nic_sum $nic rx xdp_tx) $(nic_sum $nic rx drops) $(nic_sum $nic tx xdp_tx_drops)" "640 0 0"
	tap_note "received by queue: $(nic_counts $nic rx xdp_packets); sent: $(nic_counts $nic tx xdp_tx)"
	used=$(at_work $nic rx xdp_tx)
	tap_ok "  hits came in on several queues, at the least $queues: $used" test "$used" -ge "$queues"
done
tap_is "the key's hits are counted exactly, over CPUs and NICs" \
	"$(of_json "[k['hits'] for k in d['keys'] if k['key'] == 'one'][0]" weir cache show --json)" $hits

### One key, written while it is read

reasons_since >/dev/null
keep_warm
out=$(rewritten 6 16)
tap_note "$(head -1 <<<"$out")"
tap_is "six readers on flows of their own never see less than was acknowledged" "$(tail -1 <<<"$out")" \
	"acknowledged True read True stale [] lost 0"
tap_like "  of the NIC and of memcached" "$(reasons_since)" '^fenced=[1-9].* hit=[1-9].* write=[1-9]'
lab_bg hammer lab_in client python3 "$NET_DIR/client.py" --timeout 5 loop $MEMCACHED k0,k1,k2
out=$(lab_in client python3 "$NET_DIR/client.py" --timeout 5 coherent $MEMCACHED 500 8)
status=$?
lab_stop hammer
lab_stop warm
tap_note "$out"
tap_is "nor does who writes and reads many keys, while another reads them without a break" "$status" 0
tap_like "  of the NIC and of memcached" "$(reasons_since)" '^fenced=[1-9].* hit=[1-9].* write=[1-9]'
tap_is "  and nothing is lost" "$(of_json "[d['sent'] > 0, d['lost']]" cat $LAB_DIR/hammer.log)" '[true, 0]'
tap_is "no reply of a write was missed" "$(reason reply_lost) $(reason unknown) $(reason aborted)" "0 0 0"

### Changing the queues

tap_ok "while weir is loaded the driver lets nobody change them" bash -c '! "$@" 2>/dev/null' - \
	nsenter --net=/run/netns/server ethtool -L eth0 combined 3
tap_like "  and doctor counts what XDP has as spare" "$(weir doctor -i eth0)" 'ok +queues'
tap_ok "unload" weir unload
tap_is "  leaves nothing" "$(leftovers)" ""
tap_ok "  and they can be changed" lab_in server ethtool -L eth0 combined 6
# With more queue pairs than CPUs, and none to spare, the first frame that a program sends is the end of
# the kernel (seen on 6.1, 6.12 and 6.18): virtio_net takes a queue that is not there.
tap_like "doctor says that it must not be so" "$(weir doctor -i eth0)" '(missing|warning) +queues +6 of 6'
weir load -q -c $YAML >/dev/null 2>$LAB_DIR/refused.log
tap_is "  and weir does not run natively" "$(of_json "d['interfaces'][0]['mode']" weir status --json)" generic
tap_like "  but says why" "$(cat $LAB_DIR/refused.log)" 'queue'
weir unload -q >/dev/null
tap_ok "with as many as CPUs it is loaded" lab_in server ethtool -L eth0 combined 2
tap_ok "  not degraded" weir load -q -c $YAML
tap_is "  natively" "$(of_json "d['interfaces'][0]['mode']" weir status --json)" native
printf '%s\n' one | weir cache warm -q - >/dev/null
tap_counts "  and answers" hit 64 flows 10.7.0.1 64 1 'get one'
tap_ok "unload" weir unload
tap_done
