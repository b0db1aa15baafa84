/** Configuration files as the packages bring them: every line is to be read and changed by an operator. */

export const COMMON_ENV = `# Settings of all services: see OPERATING. NAME.env and NAME-ID.env in this folder hold those of one service, or of one instance.
#CULVERT_REDIS_URL=redis://USER:PASSWORD@10.0.0.1:6379
#CULVERT_NATS_URL=nats://USER:PASSWORD@10.0.0.1:4222
#CULVERT_DOMAIN=culvert.example
#CULVERT_HEALTH_HOST=10.0.0.2
`;

export const EDGE_ENV = `# The edge. The certificate is /etc/culvert/tls/chain.pem, its key /etc/culvert/tls/key.pem: both may be root's alone.
#CULVERT_REDIS_URL=redis://USER:PASSWORD@10.0.0.1:6379
#CULVERT_EDGE_SECRET=
#CULVERT_DOMAIN=culvert.example
CULVERT_PORT=80
CULVERT_TLS=files
CULVERT_TLS_PORT=443
`;

export const AGENT_ENV = `# What culvert-agent.service serves; the token is in /etc/culvert-agent/token (mode 0600). Then: systemctl enable --now culvert-agent
#CULVERT_AGENT_ARGS=--server https://culvert.example --name alice 80 tcp:22
`;

export const AGENT_CONF = `# What culvert-agent-native.service serves; the token is in /etc/culvert-agent/token (mode 0600).
# Then: systemctl enable --now culvert-agent-native
#server = https://culvert.example
#name = alice
#map = 80
#map = tcp:22
`;
